-- Which answers does a run have? One of each of its teachers to each prompt of its set where it is there, and the further
-- ones that its decisions ask for: other runs may have asked the same teachers for more.
SELECT r.id AS run_id,
       g.id AS generation_id,
       g.prompt_id,
       p.external_id,
       g.teacher_id,
       g.sample_index,
       g.text,
       g.reasoning,
       g.tool_calls,
       g.finish_reason,
       g.prompt_tokens,
       g.completion_tokens,
       g.seed,
       g.latency_s,
       g.server_version,
       g.job_id,
       g.lease_id,
       g.origin,
       g.import_id,
       g.flaw,
       g.created_at
FROM run r
JOIN run_teacher rt ON rt.run_id = r.id
JOIN generation g ON g.teacher_id = rt.teacher_id
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
WHERE g.sample_index = 0 OR EXISTS (
    SELECT FROM routing_decision d
    WHERE d.run_id = r.id AND d.prompt_id = g.prompt_id AND d.teacher_id = g.teacher_id AND d.samples > g.sample_index)
