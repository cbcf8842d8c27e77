-- Take back those of the jobs that are ready or dead, and let their runs be looked at again; returns how many.
-- Called by protocol.cancel.
-- Index: pk_job.
WITH before AS MATERIALIZED (
    SELECT id, state AS old_state FROM job
    WHERE id = ANY(:ids) AND state IN ('ready', 'dead') ORDER BY id FOR UPDATE
), changed AS (
    UPDATE job SET state = 'cancelled', finished_at = clock_timestamp()
    FROM before WHERE job.id = before.id
    RETURNING job.id, attempt, old_state, state, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, attempt) SELECT id, 'cancelled', attempt FROM changed
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM changed CROSS JOIN LATERAL (VALUES (old_state, -1), (changed.state, 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
), reopened AS (
    UPDATE run SET finished_at = NULL, blocked_reason = NULL WHERE id IN (SELECT run_id FROM changed)
)
SELECT count(*) FROM changed;
