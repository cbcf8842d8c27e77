-- Replace the rows of job_count by their sums, once there are more than `at_most`. A reader of the sums sees the rows
-- before or after this, never half of it.
-- Called by protocol.fold_counts.
-- Index: none; it reads all of job_count, which is small.
WITH folded AS (
    DELETE FROM job_count WHERE (SELECT count(*) FROM job_count) > :at_most
    RETURNING run_id, queue, stage, state, jobs
)
INSERT INTO job_count (run_id, queue, stage, state, jobs)
SELECT run_id, queue, stage, state, sum(jobs) FROM folded
GROUP BY run_id, queue, stage, state HAVING sum(jobs) <> 0;
