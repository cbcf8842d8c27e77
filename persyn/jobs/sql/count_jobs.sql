-- How many jobs a filter means, by state; what is null in the filter does not matter.
-- Called by operators.count, after plan_for_values.sql.
-- Index: ix_job_dead where `state` is dead.
SELECT j.state, count(*) AS jobs FROM job j
WHERE (CAST(:run_id AS bigint) IS NULL OR j.run_id = :run_id)
  AND (CAST(:state AS text) IS NULL OR j.state = :state)
  AND (CAST(:queue AS text) IS NULL OR j.queue = :queue)
  AND (CAST(:error_code AS text) IS NULL OR j.error_code = :error_code)
  AND (CAST(:ids AS bigint[]) IS NULL OR j.id = ANY(:ids))
GROUP BY j.state;
