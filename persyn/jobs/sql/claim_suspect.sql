-- Take one job that was lost too often, for a lease that holds nothing: it runs alone, so that a prompt that kills the
-- engine takes no neighbour with it.
-- Called by protocol.claim, when nothing else is due.
-- Index: ix_job_suspect lists the few of them; ix_job_lease_id finds what the lease holds.
WITH candidate AS MATERIALIZED (
    SELECT id FROM job
    WHERE queue = :queue AND state = 'ready' AND lost_count >= 2 AND not_before <= statement_timestamp()
      AND (CAST(:only_run_id AS bigint) IS NULL OR run_id = :only_run_id)
      AND (CAST(:teacher_id AS bigint) IS NULL OR teacher_id = :teacher_id)
      AND (CAST(:scorer_ids AS bigint[]) IS NULL OR scorer_id = ANY(:scorer_ids))
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
      AND NOT EXISTS (
          SELECT FROM queue_pause p
          WHERE p.queue = job.queue AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
            AND (p.teacher_id + p.scorer_id = 0 OR p.teacher_id = job.teacher_id OR p.scorer_id = job.scorer_id))
      AND NOT EXISTS (SELECT FROM job AS held WHERE held.lease_id = :lease_id)
    ORDER BY stage, run_id, not_before, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 'leased', lease_id = :lease_id, attempt = attempt + 1
    FROM candidate WHERE job.id = candidate.id
    RETURNING job.id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id,
              attempt, lost_count, queue, stage, first_prompt_id, last_prompt_id, not_before
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt)
    SELECT id, 'claimed', :lease_id, attempt FROM claimed
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM claimed CROSS JOIN LATERAL (VALUES ('ready', -1), ('leased', 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
), extended AS (
    UPDATE lease SET deadline_at = clock_timestamp() + make_interval(secs => :deadline)
    WHERE id = :lease_id AND EXISTS (SELECT FROM claimed)
)
SELECT id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id, attempt, lost_count,
       stage, first_prompt_id, last_prompt_id, not_before
FROM claimed ORDER BY stage, run_id, not_before, id;
