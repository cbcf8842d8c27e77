-- Make a ready job of every row of `source`, skipping those that exist already; returns how many are new.
-- Called by protocol.enqueue, which puts a stage's SELECT in the place of the one in `source`, and by
-- protocol.enqueue_stage as it stands here: the one job of a stage that a run does as a whole.
-- Index: none is read; the unique ones find the rows that exist, one by one. So the planner can choose no bad plan here
-- without statistics: an anti-join with `job` would read a table that grows meanwhile, once a row.
WITH source AS (
    SELECT CAST(:run_id AS bigint) AS run_id, CAST(:kind AS text) AS kind, CAST(:queue AS text) AS queue,
           CAST(:stage AS int) AS stage, CAST(NULL AS bigint) AS prompt_id, CAST(NULL AS bigint) AS teacher_id,
           0 AS sample_index, CAST(NULL AS bigint) AS generation_id, CAST(NULL AS bigint) AS scorer_id
), new AS (
    INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, generation_id, scorer_id)
    SELECT run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, generation_id, scorer_id
    FROM source
    ON CONFLICT DO NOTHING
    RETURNING run_id, queue, stage
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, 'ready', count(*) FROM new GROUP BY run_id, queue, stage
    RETURNING jobs
)
SELECT coalesce(sum(jobs), 0) FROM counted;
