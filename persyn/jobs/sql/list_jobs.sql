-- The first `limit` jobs that a filter means, in the order of their ids; what is null in the filter does not matter.
-- Called by operators.list_jobs, after plan_for_values.sql.
-- Index: ix_job_dead where `state` is dead, or pk_job.
SELECT j.id, r.name AS run, j.kind, j.queue, j.state, j.attempt, j.lost_count, j.not_before, j.error_code,
       coalesce(p.external_id, CAST(p.id AS text), j.first_prompt_id || '-' || j.last_prompt_id) AS prompt,
       j.finished_at
FROM (
    SELECT j.* FROM job j
    WHERE (CAST(:run_id AS bigint) IS NULL OR j.run_id = :run_id)
      AND (CAST(:state AS text) IS NULL OR j.state = :state)
      AND (CAST(:queue AS text) IS NULL OR j.queue = :queue)
      AND (CAST(:error_code AS text) IS NULL OR j.error_code = :error_code)
      AND (CAST(:ids AS bigint[]) IS NULL OR j.id = ANY(:ids))
    ORDER BY j.id LIMIT :limit) AS j
JOIN run r ON r.id = j.run_id
LEFT JOIN generation g ON g.id = j.generation_id
LEFT JOIN prompt p ON p.id = coalesce(j.prompt_id, g.prompt_id)
ORDER BY j.id;
