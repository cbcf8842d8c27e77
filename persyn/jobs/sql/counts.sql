-- How many jobs there are, by run, queue, stage and state; `run_id` null: of all runs.
-- Called by protocol.counts.
-- Index: none; it reads all of job_count, which fold.sql keeps small.
SELECT run_id, queue, stage, state, CAST(sum(jobs) AS bigint) AS jobs FROM job_count
WHERE CAST(:run_id AS bigint) IS NULL OR run_id = :run_id
GROUP BY run_id, queue, stage, state HAVING sum(jobs) <> 0
ORDER BY run_id, stage, queue, state;
