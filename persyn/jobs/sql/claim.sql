-- Take up to `limit` jobs that are due, of all lanes: earlier stages first, then the older run, then what became due
-- first. A lane is what a queue has of one run and stage; within a lane jobs stand in the order in which they become
-- due, so that a thousand retries that wait cost a claim nothing.
-- Called by protocol.claim, which goes on with claim_on.sql.
-- Index: ix_job_ready lists the jobs that wait, lane by lane; ix_job_lease_id finds a suspect that the lease holds.
WITH RECURSIVE lane AS (
    -- One probe of the index for each lane that has something ready, however long the lanes are. Postgres takes a
    -- comparison of rows as the place to start reading from only where no column is named twice.
    (SELECT queue, run_id, stage FROM job WHERE state = 'ready' AND lost_count < 2 AND queue = :queue
     ORDER BY queue, run_id, stage LIMIT 1)
    UNION ALL
    SELECT further.* FROM lane CROSS JOIN LATERAL (
        SELECT queue, run_id, stage FROM job
        WHERE state = 'ready' AND lost_count < 2 AND queue = :queue AND (run_id, stage) > (lane.run_id, lane.stage)
        ORDER BY queue, run_id, stage LIMIT 1) AS further
), open_lane AS MATERIALIZED (
    -- Earlier stages first, then the older run. A run's teachers and scorers are fixed, so a lane that has none of
    -- those asked for is passed over as a whole.
    SELECT lane.run_id, lane.stage FROM lane JOIN run ON run.id = lane.run_id
    WHERE run.paused_at IS NULL AND (CAST(:only_run_id AS bigint) IS NULL OR lane.run_id = :only_run_id)
      AND NOT EXISTS (
          SELECT FROM queue_pause p
          WHERE p.queue = lane.queue AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
            AND (p.teacher_id + p.scorer_id = 0 OR p.teacher_id = :teacher_id OR p.scorer_id = ANY(:scorer_ids)))
      AND (CAST(:teacher_id AS bigint) IS NULL OR EXISTS (
           SELECT FROM run_teacher AS rt WHERE rt.run_id = lane.run_id AND rt.teacher_id = :teacher_id))
    ORDER BY lane.stage, lane.run_id
), candidate AS MATERIALIZED (
    SELECT due.id FROM open_lane CROSS JOIN LATERAL (
        SELECT id FROM job
        WHERE queue = :queue AND run_id = open_lane.run_id AND stage = open_lane.stage
          AND state = 'ready' AND lost_count < 2
          -- Not clock_timestamp(): that may not bound an index scan. A job that this very statement makes due waits for
          -- the next.
          AND not_before <= statement_timestamp()
          AND (CAST(:teacher_id AS bigint) IS NULL OR teacher_id = :teacher_id)
          AND (CAST(:scorer_ids AS bigint[]) IS NULL OR scorer_id = ANY(:scorer_ids))
        ORDER BY not_before, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED) AS due
    WHERE NOT EXISTS (
        SELECT FROM job AS held WHERE held.lease_id = :lease_id AND held.lost_count >= 2)
    LIMIT :limit
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
