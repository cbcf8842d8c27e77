-- Mark those of the jobs done that are still this lease's; returns their ids: only their results may be stored.
-- `detail`: null, or why nothing was computed.
-- Called by protocol.complete and protocol.claim, which hold the lease.
-- Index: pk_job or ix_job_lease_id, whichever names fewer jobs.
WITH finished AS (
    UPDATE job SET state = 'done', finished_at = clock_timestamp(), lease_id = NULL, error_code = NULL
    WHERE id = ANY(:job_ids) AND lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, detail)
    SELECT id, 'completed', :lease_id, attempt, CAST(:detail AS text) FROM finished
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM finished CROSS JOIN LATERAL (VALUES ('leased', -1), ('done', 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
)
SELECT id FROM finished;
