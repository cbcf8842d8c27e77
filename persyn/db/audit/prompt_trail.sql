-- What happened to a prompt, step by step, and why is its row as it is?
WITH run_prompt AS (
    SELECT r.id AS run_id, p.id AS prompt_id, p.created_at, p.external_id, s.name AS prompt_set
    FROM run r
    JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
    JOIN prompt_set s ON s.id = p.prompt_set_id
),
run_job AS (
    SELECT j.id, j.run_id, j.kind, j.queue, nullif(coalesce(g.sample_index, j.sample_index), 0) AS sample_index,
           coalesce(j.prompt_id, g.prompt_id) AS prompt_id, coalesce(j.teacher_id, g.teacher_id) AS teacher_id,
           sc.kind AS scorer_kind
    FROM job j
    LEFT JOIN generation g ON g.id = j.generation_id
    LEFT JOIN scorer sc ON sc.id = j.scorer_id
    WHERE j.kind IN ('generate', 'score')
)
SELECT rp.run_id, rp.prompt_id, rp.created_at AS at, 1 AS step, 'imported' AS what, NULL::text AS teacher,
       jsonb_build_object('set', rp.prompt_set, 'external_id', rp.external_id) AS detail
FROM run_prompt rp
UNION ALL
SELECT r.id, c.prompt_id, r.created_at, 2, 'calibration', NULL, jsonb_build_object('split', c.split)
FROM run r
JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
JOIN prompt p ON p.id = c.prompt_id AND p.prompt_set_id = r.prompt_set_id
UNION ALL
SELECT d.run_id, d.prompt_id, d.created_at, 5, CASE d.basis WHEN 'rerouted' THEN 'rerouted' ELSE 'routed' END, d.teacher,
       CASE d.basis WHEN 'rerouted' THEN jsonb_build_object(
           'policy', d.policy, 'attempt', d.attempt, 'failed', to_jsonb(d.failed_teachers), 'gain', d.gain,
           'price', d.price)
       ELSE jsonb_build_object(
           'policy', d.policy, 'basis', d.basis, 'router_id', d.router_id, 'margin', d.margin,
           'runner_up', d.runner_up, 'runner_up_coefficient', d.runner_up_coefficient,
           'neighbours', to_jsonb(d.neighbours),
           CASE d.basis WHEN 'measured' THEN 'rewards' ELSE 'coefficients' END, d.coefficients) END
       || CASE WHEN d.samples > 1 THEN jsonb_build_object('samples', d.samples) ELSE '{}' END
       || CASE WHEN d.probability IS NOT NULL THEN jsonb_build_object('probability', d.probability) ELSE '{}' END
FROM audit.decision d
UNION ALL
SELECT j.run_id, j.prompt_id, e.at, 3, 'job ' || e.event, t.name,
       jsonb_strip_nulls(jsonb_build_object(
           'job_id', e.job_id, 'kind', j.kind, 'scorer', j.scorer_kind, 'sample_index', j.sample_index,
           'attempt', e.attempt, 'lease_id', e.lease_id, 'worker', l.worker, 'host', l.host,
           'error_code', e.error_code, 'error', e.detail))
FROM run_job j
JOIN audit.job_history e ON e.job_id = j.id
LEFT JOIN lease l ON l.id = e.lease_id
LEFT JOIN teacher t ON t.id = j.teacher_id
UNION ALL
SELECT g.run_id, g.prompt_id, g.created_at, 4, 'answered', t.name,
       jsonb_build_object(
           'generation_id', g.generation_id, 'origin', g.origin, 'import', i.path, 'text', left(g.text, 2000),
           'tool_calls', g.tool_calls, 'finish_reason', g.finish_reason,
           'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seed', g.seed,
           'latency_s', g.latency_s, 'server_version', g.server_version, 'job_id', g.job_id, 'lease_id', g.lease_id,
           'reused', coalesce(gj.run_id <> g.run_id, true))
       || CASE WHEN g.sample_index > 0 THEN jsonb_build_object('sample_index', g.sample_index) ELSE '{}' END
       || CASE WHEN o.teacher_id = g.teacher_id THEN jsonb_build_object('opinion', true) ELSE '{}' END
FROM audit.run_answer g
LEFT JOIN audit.opinion o ON o.run_id = g.run_id AND o.prompt_id = g.prompt_id
JOIN teacher t ON t.id = g.teacher_id
LEFT JOIN job gj ON gj.id = g.job_id
LEFT JOIN generation_import i ON i.id = g.import_id
UNION ALL
SELECT g.run_id, g.prompt_id, s.created_at, 4, 'scored ' || sc.kind, t.name,
       jsonb_build_object('generation_id', g.generation_id, 'scorer', sc.method, 'weight', rs.weight, 'value', s.value,
                          'detail', s.detail)
FROM score s
JOIN audit.run_answer g ON g.generation_id = s.generation_id
JOIN scorer sc ON sc.id = s.scorer_id
JOIN run_scorer rs ON rs.scorer_id = sc.id AND rs.run_id = g.run_id
JOIN teacher t ON t.id = g.teacher_id
UNION ALL
-- Of several answers the best goes out: one that the export keeps, where there is one.
SELECT x.run_id, a.prompt_id, x.created_at, 6, CASE WHEN a.leaves THEN 'exported' ELSE 'left out' END, a.teacher,
       jsonb_build_object('format', x.format, 'layout', x.layout, 'path', x.path, 'sha256', x.sha256)
       || CASE a.answers WHEN 1 THEN jsonb_build_object('flaws', a.flaws -> 0)
                         ELSE jsonb_build_object('best_of', a.answers) END
FROM export x
CROSS JOIN LATERAL (
    SELECT d.prompt_id, bool_or(one.flaws <@ x.keep) AS leaves, count(*) AS answers, jsonb_agg(one.flaws) AS flaws,
           CASE WHEN min(one.teacher) = max(one.teacher) THEN min(one.teacher) END AS teacher
    FROM routing_decision d
    JOIN audit.answer one ON one.run_id = d.run_id AND one.prompt_id = d.prompt_id AND one.teacher_id = d.teacher_id
                         AND one.sample_index < d.samples AND one.created_at <= x.created_at
    WHERE d.run_id = x.run_id AND d.policy = x.policy
    GROUP BY d.prompt_id) a
WHERE x.layout <> 'preference'
