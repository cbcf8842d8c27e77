-- Give back jobs of leases whose worker or server died; each counts a loss, and no attempt. Returns how many of each
-- state. `job_ids` null: all that the leases hold. The loss that makes `losses` of them is the last: how many that is,
-- and what it is called, depends on who lost it.
-- Called by protocol.report_lost, which holds the lease, and by protocol.reap, which has locked the leases.
-- Index: ix_job_lease_id.
WITH lost AS (
    UPDATE job
    SET state = CASE WHEN lost_count + 1 >= :losses THEN 'dead' ELSE 'ready' END,
        finished_at = CASE WHEN lost_count + 1 >= :losses THEN clock_timestamp() END,
        error_code = CASE WHEN lost_count + 1 >= :losses THEN :code ELSE error_code END,
        lease_id = NULL, attempt = attempt - 1, lost_count = lost_count + 1
    FROM unnest(CAST(:lease_ids AS bigint[])) AS gone (lease)
    WHERE lease_id = gone.lease AND job.state = 'leased'
      AND (CAST(:job_ids AS bigint[]) IS NULL OR job.id = ANY(:job_ids))
    RETURNING job.id, gone.lease, job.state, attempt, error_code, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'lost' END, lease, attempt + 1,
           CASE state WHEN 'dead' THEN :code END, :detail
    FROM lost
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM lost CROSS JOIN LATERAL (VALUES ('leased', -1), (lost.state, 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
)
SELECT state, count(*) AS jobs FROM lost GROUP BY state;
