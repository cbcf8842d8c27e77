-- For how many seconds the oldest job of each queue has been due, those of paused runs left out.
-- Called by backlog.read.
-- Index: ix_job_ready, the head of each lane.
WITH RECURSIVE lane AS (
    -- One probe of the index for each lane that has something ready, however long the lanes are.
    (SELECT queue, run_id, stage FROM job WHERE state = 'ready' AND lost_count < 2
     ORDER BY queue, run_id, stage LIMIT 1)
    UNION ALL
    SELECT further.* FROM lane CROSS JOIN LATERAL (
        SELECT queue, run_id, stage FROM job
        WHERE state = 'ready' AND lost_count < 2 AND (queue, run_id, stage) > (lane.queue, lane.run_id, lane.stage)
        ORDER BY queue, run_id, stage LIMIT 1) AS further
)
SELECT lane.queue, extract(epoch FROM clock_timestamp() - min(head.not_before)) AS oldest_s
FROM lane JOIN run ON run.id = lane.run_id CROSS JOIN LATERAL (
    SELECT not_before FROM job
    WHERE queue = lane.queue AND run_id = lane.run_id AND stage = lane.stage
      AND state = 'ready' AND lost_count < 2 AND not_before <= statement_timestamp()
    ORDER BY not_before, id LIMIT 1) AS head
WHERE run.paused_at IS NULL
GROUP BY lane.queue;
