-- Make one ready job that stands for no prompt and of which a run may have several; returns its id.
-- Called by protocol.enqueue_one.
-- Index: none; nothing is looked up.
WITH new AS (
    INSERT INTO job (run_id, kind, queue, stage) VALUES (:run_id, :kind, :queue, :stage)
    RETURNING id, run_id, queue, stage
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs) SELECT run_id, queue, stage, 'ready', 1 FROM new
)
SELECT id FROM new;
