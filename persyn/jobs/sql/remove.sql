-- Remove jobs with all that is known of them, because what they made was taken back; returns how many.
-- Called by protocol.remove.
-- Index: pk_job, pk_job_event.
WITH gone AS (
    DELETE FROM job WHERE id = ANY(:ids) RETURNING id, run_id, queue, stage, state
), forgotten AS (
    DELETE FROM job_event WHERE job_id IN (SELECT id FROM gone)
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, state, -count(*) FROM gone GROUP BY run_id, queue, stage, state
), reopened AS (
    UPDATE run SET finished_at = NULL WHERE id IN (SELECT run_id FROM gone)
)
SELECT count(*) FROM gone;
