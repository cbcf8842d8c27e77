-- Give those of the jobs that are dead or cancelled a fresh start, with no attempt and no loss on their account, and let
-- their runs be looked at again, unless a student's training is all, which no run waits for; returns how many. A job
-- that does a whole stage is not due until open_stage.sql says so: what it reads may be among the jobs that are open
-- again.
-- Called by protocol.revive.
-- Index: pk_job.
WITH before AS MATERIALIZED (
    SELECT id, state AS old_state FROM job
    WHERE id = ANY(:ids) AND state IN ('dead', 'cancelled') ORDER BY id FOR UPDATE
), changed AS (
    UPDATE job SET state = 'ready', finished_at = NULL, error_code = NULL, attempt = 0, lost_count = 0,
                   not_before = CASE WHEN kind IN ('train_router', 'route')
                                     THEN clock_timestamp() + interval '100 years' ELSE clock_timestamp() END
    FROM before WHERE job.id = before.id
    RETURNING job.id, kind, attempt, old_state, state, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, attempt) SELECT id, 'revived', attempt FROM changed
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM changed CROSS JOIN LATERAL (VALUES (old_state, -1), (changed.state, 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
), reopened AS (
    UPDATE run SET finished_at = NULL, blocked_reason = NULL
    WHERE id IN (SELECT run_id FROM changed WHERE kind <> 'train_student')
)
SELECT count(*) FROM changed;
