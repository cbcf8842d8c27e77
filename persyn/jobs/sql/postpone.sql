-- Hand some of a lease's jobs back for `wait` seconds, as release.sql does; returns how many. They need not be done yet:
-- another run's job for the same result is being worked on, or an earlier job of their run is open again.
-- Called by protocol.claim, which holds the lease.
-- Index: pk_job or ix_job_lease_id, whichever names fewer jobs.
WITH released AS (
    UPDATE job SET state = 'ready', lease_id = NULL, attempt = attempt - 1,
                   not_before = clock_timestamp() + make_interval(secs => :wait)
    WHERE id = ANY(:job_ids) AND lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, detail)
    SELECT id, 'released', :lease_id, attempt + 1, :detail FROM released
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM released CROSS JOIN LATERAL (VALUES ('leased', -1), ('ready', 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
)
SELECT count(*) FROM released;
