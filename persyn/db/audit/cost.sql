-- What did a run's answers cost, teacher by teacher, how many were another run's work, how many imported?
-- uncounted: answers whose tokens the server did not count; the sums of tokens are without them.
-- cost: in the currency of the prices per million tokens that the run's configuration gives; null where it gives none,
-- and where an answer is uncounted.
SELECT r.id AS run_id,
       r.name AS run,
       t.name AS teacher,
       count(*) FILTER (WHERE j.run_id = r.id) AS generated,
       count(*) FILTER (WHERE j.run_id <> r.id) AS reused,
       count(*) FILTER (WHERE g.origin = 'imported') AS imported,
       coalesce(sum(g.prompt_tokens) FILTER (WHERE j.run_id = r.id), 0) AS prompt_tokens,
       coalesce(sum(g.completion_tokens) FILTER (WHERE j.run_id = r.id), 0) AS completion_tokens,
       coalesce(sum(g.latency_s) FILTER (WHERE j.run_id = r.id), 0) AS request_seconds,
       count(*) FILTER (WHERE j.run_id = r.id AND num_nulls(g.prompt_tokens, g.completion_tokens) > 0) AS uncounted,
       CASE WHEN count(*) FILTER (WHERE j.run_id = r.id AND num_nulls(g.prompt_tokens, g.completion_tokens) > 0) = 0
       THEN (coalesce(sum(g.prompt_tokens) FILTER (WHERE j.run_id = r.id), 0)
            * CAST(r.config #>> ARRAY['teachers', CAST(rt.position AS text), 'endpoint', 'price', 'input'] AS numeric)
        + coalesce(sum(g.completion_tokens) FILTER (WHERE j.run_id = r.id), 0)
            * CAST(r.config #>> ARRAY['teachers', CAST(rt.position AS text), 'endpoint', 'price', 'output'] AS numeric)
       ) / 1000000 END AS cost
FROM audit.run_answer g
JOIN run r ON r.id = g.run_id
JOIN run_teacher rt ON rt.run_id = r.id AND rt.teacher_id = g.teacher_id
JOIN teacher t ON t.id = g.teacher_id
LEFT JOIN job j ON j.id = g.job_id
WHERE j.run_id = r.id
   OR EXISTS (SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = g.prompt_id)
   OR EXISTS (
       SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.prompt_id = g.prompt_id AND d.teacher_id = t.id)
   OR EXISTS (SELECT FROM audit.opinion o WHERE o.run_id = r.id AND o.prompt_id = g.prompt_id AND o.teacher_id = t.id)
GROUP BY r.id, r.name, t.name, rt.position
ORDER BY r.id, t.name
