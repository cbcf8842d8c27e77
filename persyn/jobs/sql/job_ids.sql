-- The next `limit` ids, beyond `after`, of the jobs that a filter means; what is null in the filter does not matter.
-- Called by operators.retry and operators.cancel, after plan_for_values.sql.
-- Index: ix_job_dead where `state` is dead, or pk_job.
SELECT j.id FROM job j
WHERE j.id > :after
  AND (CAST(:run_id AS bigint) IS NULL OR j.run_id = :run_id)
  AND (CAST(:state AS text) IS NULL OR j.state = :state)
  AND (CAST(:queue AS text) IS NULL OR j.queue = :queue)
  AND (CAST(:error_code AS text) IS NULL OR j.error_code = :error_code)
  AND (CAST(:ids AS bigint[]) IS NULL OR j.id = ANY(:ids))
ORDER BY j.id LIMIT :limit;
