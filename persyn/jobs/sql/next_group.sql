-- The run, stage, teacher and scorer of the job that a claim of this queue would take first, those left out that the
-- caller cannot serve; no row where nothing else is due.
-- Called by protocol.next_group, after by_index.sql.
-- Index: ix_job_ready, the head of each lane; ix_job_suspect.
WITH RECURSIVE lane AS (
    -- As in claim.sql.
    (SELECT queue, run_id, stage FROM job WHERE state = 'ready' AND lost_count < 2 AND queue = :queue
     ORDER BY queue, run_id, stage LIMIT 1)
    UNION ALL
    SELECT further.* FROM lane CROSS JOIN LATERAL (
        SELECT queue, run_id, stage FROM job
        WHERE state = 'ready' AND lost_count < 2 AND queue = :queue AND (run_id, stage) > (lane.run_id, lane.stage)
        ORDER BY queue, run_id, stage LIMIT 1) AS further
), held AS MATERIALIZED (
    SELECT coalesce(array_agg(scorer_id), CAST(ARRAY[] AS bigint[])) AS scorer_ids FROM queue_pause p
    WHERE queue = :queue AND scorer_id > 0 AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
), open_lane AS MATERIALIZED (
    -- All jobs of a run in a teacher's queue are one teacher version's, which a worker may have held back.
    SELECT lane.run_id, lane.stage FROM lane JOIN run ON run.id = lane.run_id
    WHERE run.paused_at IS NULL AND lane.run_id <> ALL(CAST(:without_run_ids AS bigint[]))
      AND NOT EXISTS (
          SELECT FROM queue_pause p
          WHERE p.queue = lane.queue AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
            AND (p.teacher_id + p.scorer_id = 0 OR EXISTS (
                 SELECT FROM run_teacher rt WHERE rt.run_id = lane.run_id AND rt.teacher_id = p.teacher_id)))
    ORDER BY lane.stage, lane.run_id
), ready AS (
    SELECT head.* FROM held CROSS JOIN open_lane CROSS JOIN LATERAL (
        SELECT run_id, stage, teacher_id, scorer_id FROM job
        WHERE queue = :queue AND run_id = open_lane.run_id AND stage = open_lane.stage
          AND state = 'ready' AND lost_count < 2 AND not_before <= statement_timestamp()
          AND (teacher_id IS NULL OR teacher_id <> ALL(CAST(:without_teacher_ids AS bigint[])))
          AND (scorer_id IS NULL OR scorer_id <> ALL(CAST(:without_scorer_ids AS bigint[]) || held.scorer_ids))
        ORDER BY not_before, id LIMIT 1) AS head
    LIMIT 1
), suspect AS (
    SELECT run_id, stage, teacher_id, scorer_id FROM job
    WHERE queue = :queue AND state = 'ready' AND lost_count >= 2 AND not_before <= statement_timestamp()
      AND run_id <> ALL(CAST(:without_run_ids AS bigint[]))
      AND (teacher_id IS NULL OR teacher_id <> ALL(CAST(:without_teacher_ids AS bigint[])))
      AND (scorer_id IS NULL OR scorer_id <> ALL(CAST(:without_scorer_ids AS bigint[])))
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
      AND NOT EXISTS (
          SELECT FROM queue_pause p
          WHERE p.queue = job.queue AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
            AND (p.teacher_id + p.scorer_id = 0 OR p.teacher_id = job.teacher_id OR p.scorer_id = job.scorer_id))
    ORDER BY stage, run_id, not_before, id LIMIT 1
)
SELECT run_id, stage, teacher_id, scorer_id FROM ready
UNION ALL
SELECT run_id, stage, teacher_id, scorer_id FROM suspect WHERE NOT EXISTS (SELECT FROM ready);
