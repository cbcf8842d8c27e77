-- Hand back all that a lease holds; returns how many jobs. A released try gave no answer and no error, so it counts as
-- no attempt. Its job was due before and keeps its place.
-- Called by protocol.close, which has locked the lease.
-- Index: ix_job_lease_id.
WITH released AS (
    UPDATE job SET state = 'ready', lease_id = NULL, attempt = attempt - 1
    WHERE lease_id = :lease_id AND state = 'leased'
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
