-- How many jobs of each queue are due, paused ones left out. A lane is counted up to `at_most` rows; of a longer one
-- all that is ready counts, due or not.
-- Called by protocol.waiting, after by_index.sql.
-- Index: ix_job_ready, a lane at a time; ix_job_suspect.
WITH RECURSIVE lane AS (
    -- One probe of the index for each lane that has something ready, however long the lanes are.
    (SELECT queue, run_id, stage FROM job WHERE state = 'ready' AND lost_count < 2
     ORDER BY queue, run_id, stage LIMIT 1)
    UNION ALL
    SELECT further.* FROM lane CROSS JOIN LATERAL (
        SELECT queue, run_id, stage FROM job
        WHERE state = 'ready' AND lost_count < 2 AND (queue, run_id, stage) > (lane.queue, lane.run_id, lane.stage)
        ORDER BY queue, run_id, stage LIMIT 1) AS further
), due AS (
    SELECT lane.queue, CASE WHEN head.jobs < :at_most THEN head.jobs ELSE greatest(head.jobs, (
               SELECT sum(c.jobs) FROM job_count c
               WHERE c.run_id = lane.run_id AND c.queue = lane.queue AND c.stage = lane.stage
                 AND c.state = 'ready')) END AS jobs
    FROM lane JOIN run ON run.id = lane.run_id CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(scorer_id), CAST(ARRAY[] AS bigint[])) AS scorer_ids FROM queue_pause p
        WHERE queue = lane.queue AND scorer_id > 0 AND (p.until_at IS NULL OR p.until_at > clock_timestamp())
    ) AS held CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM job
            WHERE queue = lane.queue AND run_id = lane.run_id AND stage = lane.stage
              AND state = 'ready' AND lost_count < 2 AND not_before <= statement_timestamp()
              AND (scorer_id IS NULL OR scorer_id <> ALL(held.scorer_ids))
            LIMIT :at_most) AS few) AS head
    WHERE run.paused_at IS NULL
      -- All jobs of a run in a teacher's queue are one teacher version's.
      AND NOT EXISTS (
          SELECT FROM queue_pause p JOIN run_teacher rt ON rt.teacher_id = p.teacher_id
          WHERE p.queue = lane.queue AND rt.run_id = lane.run_id
            AND (p.until_at IS NULL OR p.until_at > clock_timestamp()))
    UNION ALL
    SELECT queue, count(*) FROM job
    WHERE state = 'ready' AND lost_count >= 2 AND not_before <= statement_timestamp()
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
      AND NOT EXISTS (
          SELECT FROM queue_pause p
          WHERE p.queue = job.queue AND (p.teacher_id = job.teacher_id OR p.scorer_id = job.scorer_id)
            AND (p.until_at IS NULL OR p.until_at > clock_timestamp()))
    GROUP BY queue
)
SELECT queue, CAST(sum(jobs) AS bigint) AS jobs FROM due
WHERE jobs > 0 AND NOT EXISTS (
    SELECT FROM queue_pause p
    WHERE p.queue = due.queue AND p.teacher_id + p.scorer_id = 0
      AND (p.until_at IS NULL OR p.until_at > clock_timestamp()))
GROUP BY queue ORDER BY queue;
