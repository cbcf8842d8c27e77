"""The audit views, frozen as they were when this migration was written."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VIEWS = {
    "cost": """\
-- What did a run's answers cost, teacher by teacher, and how many were another run's work?
SELECT r.id AS run_id,
       r.name AS run,
       t.name AS teacher,
       count(*) FILTER (WHERE j.run_id = r.id) AS generated,
       count(*) FILTER (WHERE j.run_id <> r.id) AS reused,
       coalesce(sum(g.prompt_tokens) FILTER (WHERE j.run_id = r.id), 0) AS prompt_tokens,
       coalesce(sum(g.completion_tokens) FILTER (WHERE j.run_id = r.id), 0) AS completion_tokens,
       coalesce(sum(g.latency_s) FILTER (WHERE j.run_id = r.id), 0) AS request_seconds
FROM run r
JOIN run_teacher rt ON rt.run_id = r.id
JOIN teacher t ON t.id = rt.teacher_id
JOIN generation g ON g.teacher_id = t.id
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
JOIN job j ON j.id = g.job_id
WHERE j.run_id = r.id
   OR EXISTS (SELECT FROM calibration_prompt c WHERE c.run_id = r.id AND c.prompt_id = p.id)
   OR EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.prompt_id = p.id AND d.teacher_id = t.id)
GROUP BY r.id, r.name, t.name
ORDER BY r.id, t.name
""",
    "failures": """\
-- What went wrong in a run: how often, in which queue, how it ended, and an example of each?
SELECT r.id AS run_id,
       r.name AS run,
       j.queue,
       e.event,
       coalesce(e.error_code, '') AS error_code,
       count(*) AS times,
       count(DISTINCT j.id) AS jobs,
       count(DISTINCT j.id) FILTER (WHERE j.state = 'dead') AS dead_now,
       max(e.at) AS last_at,
       (array_agg(e.job_id ORDER BY e.id DESC))[1] AS example_job_id,
       (array_agg(e.detail ORDER BY e.id DESC))[1] AS example_detail
FROM job_event e
JOIN job j ON j.id = e.job_id
JOIN run r ON r.id = j.run_id
WHERE e.event IN ('retried', 'lost', 'died', 'released')
GROUP BY r.id, r.name, j.queue, e.event, coalesce(e.error_code, '')
ORDER BY r.id, times DESC, j.queue
""",
    "integrity": """\
-- Does everything hold that must hold? One row per invariant; violations must be 0.
WITH step AS (
    SELECT e.job_id, e.event, e.id,
           lag(e.event) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
    FROM job_event e
),
last_event AS (
    SELECT DISTINCT ON (e.job_id) e.job_id, e.event
    FROM job_event e
    ORDER BY e.job_id, e.id DESC
)
SELECT 'job_events_form_a_legal_chain' AS invariant, count(*) AS violations
FROM step
WHERE NOT coalesce(CASE event
    WHEN 'enqueued' THEN before IS NULL
    WHEN 'claimed' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived')
    WHEN 'cancelled' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived', 'died')
    WHEN 'revived' THEN before = 'died'
    ELSE before = 'claimed'
END, false)
UNION ALL
SELECT 'job_state_is_what_its_last_event_says', count(*)
FROM job j
LEFT JOIN last_event l ON l.job_id = j.id
WHERE j.state IS DISTINCT FROM CASE l.event
    WHEN 'claimed' THEN 'leased'
    WHEN 'completed' THEN 'done'
    WHEN 'died' THEN 'dead'
    WHEN 'cancelled' THEN 'cancelled'
    WHEN 'enqueued' THEN 'ready'
    WHEN 'retried' THEN 'ready'
    WHEN 'released' THEN 'ready'
    WHEN 'lost' THEN 'ready'
    WHEN 'revived' THEN 'ready'
END
UNION ALL
SELECT 'leased_jobs_have_an_open_lease', count(*)
FROM job j
JOIN lease l ON l.id = j.lease_id
WHERE j.state = 'leased' AND l.revoked_at IS NOT NULL
UNION ALL
SELECT 'nothing_was_committed_under_a_revoked_lease', count(*)
FROM (SELECT lease_id, created_at FROM generation
      UNION ALL SELECT lease_id, created_at FROM score
      UNION ALL SELECT lease_id, created_at FROM router
      UNION ALL SELECT lease_id, created_at FROM routing_decision) result
JOIN lease l ON l.id = result.lease_id
WHERE l.revoked_at < result.created_at
UNION ALL
SELECT 'every_answer_was_completed_under_its_own_lease', count(*)
FROM generation g
WHERE NOT EXISTS (
    SELECT FROM job_event e
    WHERE e.job_id = g.job_id AND e.event = 'completed' AND e.lease_id = g.lease_id)
UNION ALL
SELECT 'done_generate_jobs_have_an_answer', count(*)
FROM job j
WHERE j.kind = 'generate' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM generation g
    WHERE g.prompt_id = j.prompt_id AND g.teacher_id = j.teacher_id AND g.sample_index = j.sample_index)
UNION ALL
SELECT 'done_score_jobs_have_a_score', count(*)
FROM job j
WHERE j.kind = 'score' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM score s WHERE s.generation_id = j.generation_id AND s.scorer_id = j.scorer_id)
UNION ALL
SELECT 'dead_jobs_say_why', count(*)
FROM job j
WHERE j.state = 'dead' AND NOT EXISTS (
    SELECT FROM job_event e WHERE e.job_id = j.id AND e.event = 'died' AND e.error_code IS NOT NULL)
UNION ALL
SELECT 'decisions_name_a_teacher_of_the_pool', count(*)
FROM routing_decision d
WHERE NOT EXISTS (SELECT FROM run_teacher rt WHERE rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id)
UNION ALL
SELECT 'a_router_decision_is_its_largest_coefficient', count(*)
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.basis = 'router'
  AND d.coefficients[rt.position + 1] IS DISTINCT FROM (SELECT max(c) FROM unnest(d.coefficients) AS c)
UNION ALL
SELECT 'routed_prompts_of_a_run_are_of_its_set', count(*)
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN prompt p ON p.id = d.prompt_id
WHERE p.prompt_set_id <> r.prompt_set_id
""",
    "prompt_trail": """\
-- What happened to a prompt, step by step, and why is its row as it is?
WITH run_prompt AS (
    SELECT r.id AS run_id, p.id AS prompt_id, p.created_at, p.external_id, s.name AS prompt_set
    FROM run r
    JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
    JOIN prompt_set s ON s.id = p.prompt_set_id
),
run_job AS (
    SELECT j.id, j.run_id, j.kind, j.queue, coalesce(j.prompt_id, g.prompt_id) AS prompt_id,
           coalesce(j.teacher_id, g.teacher_id) AS teacher_id, sc.kind AS scorer_kind
    FROM job j
    LEFT JOIN generation g ON g.id = j.generation_id
    LEFT JOIN scorer sc ON sc.id = j.scorer_id
    WHERE j.kind IN ('generate', 'score')
)
SELECT rp.run_id, rp.prompt_id, rp.created_at AS at, 1 AS step, 'imported' AS what, NULL::text AS teacher,
       jsonb_build_object('set', rp.prompt_set, 'external_id', rp.external_id) AS detail
FROM run_prompt rp
UNION ALL
SELECT c.run_id, c.prompt_id, r.created_at, 2, 'calibration', NULL, jsonb_build_object('split', c.split)
FROM calibration_prompt c
JOIN run r ON r.id = c.run_id
UNION ALL
SELECT d.run_id, d.prompt_id, d.created_at, 5, 'routed', t.name,
       jsonb_build_object(
           'policy', d.policy, 'basis', d.basis, 'router_id', d.router_id, 'margin', d.margin,
           'coefficients', (SELECT jsonb_object_agg(rt_t.name, d.coefficients[rt.position + 1])
                            FROM run_teacher rt JOIN teacher rt_t ON rt_t.id = rt.teacher_id
                            WHERE rt.run_id = d.run_id AND d.coefficients IS NOT NULL))
FROM routing_decision d
JOIN teacher t ON t.id = d.teacher_id
UNION ALL
SELECT j.run_id, j.prompt_id, e.at, 3, 'job ' || e.event, t.name,
       jsonb_strip_nulls(jsonb_build_object(
           'job_id', e.job_id, 'kind', j.kind, 'scorer', j.scorer_kind, 'attempt', e.attempt, 'lease_id', e.lease_id,
           'worker', l.worker, 'host', l.host, 'error_code', e.error_code, 'error', e.detail))
FROM run_job j
JOIN job_event e ON e.job_id = j.id
LEFT JOIN lease l ON l.id = e.lease_id
LEFT JOIN teacher t ON t.id = j.teacher_id
UNION ALL
SELECT rp.run_id, g.prompt_id, g.created_at, 4, 'answered', t.name,
       jsonb_build_object(
           'generation_id', g.id, 'text', left(g.text, 2000), 'finish_reason', g.finish_reason,
           'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seed', g.seed,
           'latency_s', g.latency_s, 'server_version', g.server_version, 'job_id', g.job_id, 'lease_id', g.lease_id,
           'reused', gj.run_id <> rp.run_id)
FROM run_prompt rp
JOIN generation g ON g.prompt_id = rp.prompt_id
JOIN run_teacher rt ON rt.run_id = rp.run_id AND rt.teacher_id = g.teacher_id
JOIN teacher t ON t.id = g.teacher_id
JOIN job gj ON gj.id = g.job_id
UNION ALL
SELECT r.id, g.prompt_id, s.created_at, 4, 'scored ' || sc.kind, t.name,
       jsonb_build_object('generation_id', g.id, 'scorer', sc.method, 'value', s.value, 'detail', s.detail)
FROM score s
JOIN generation g ON g.id = s.generation_id
JOIN scorer sc ON sc.id = s.scorer_id
JOIN run r ON sc.id IN (r.quality_scorer_id, r.learnability_scorer_id)
JOIN run_teacher rt ON rt.run_id = r.id AND rt.teacher_id = g.teacher_id
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
JOIN teacher t ON t.id = g.teacher_id
UNION ALL
SELECT x.run_id, d.prompt_id, x.created_at, 6, 'exported', t.name,
       jsonb_build_object('format', x.format, 'path', x.path, 'sha256', x.sha256)
FROM export x
JOIN run r ON r.id = x.run_id
JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy
JOIN teacher t ON t.id = d.teacher_id
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0
                 AND g.created_at <= x.created_at
""",
    "teacher_share": """\
-- Which share of a run's prompts goes to each teacher, and on what basis?
SELECT r.id AS run_id,
       r.name AS run,
       d.policy,
       t.name AS teacher,
       d.basis,
       count(*) AS prompts,
       count(*)::double precision / sum(count(*)) OVER (PARTITION BY r.id, d.policy) AS share,
       avg(d.margin) AS mean_margin
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN teacher t ON t.id = d.teacher_id
GROUP BY r.id, r.name, d.policy, t.name, d.basis
ORDER BY r.id, d.policy, prompts DESC, t.name
""",
    "throughput": """\
-- How many answers and tokens did each teacher give, minute by minute?
SELECT j.run_id,
       t.name AS teacher,
       date_trunc('minute', g.created_at) AS minute,
       count(*) AS generations,
       sum(g.completion_tokens) AS completion_tokens,
       sum(g.completion_tokens) / 60.0 AS tokens_per_second,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.latency_s) AS median_latency_s
FROM generation g
JOIN job j ON j.id = g.job_id
JOIN teacher t ON t.id = g.teacher_id
GROUP BY j.run_id, t.name, date_trunc('minute', g.created_at)
ORDER BY minute, teacher
""",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA audit")
    for name, body in VIEWS.items():
        op.execute(f"CREATE VIEW audit.{name} AS {body}")


def downgrade() -> None:
    op.execute("DROP SCHEMA audit CASCADE")
