-- As enqueue.sql, where the caller expects that no job exists: the first that does is an error. Looking for a conflict
-- before each row, in four indexes, and marking it as settled afterwards is a third of the time.
-- Called by protocol.enqueue, which puts a stage's SELECT in the place of the one in `source`.
-- Index: none; nothing is looked up.
WITH source AS (
    SELECT CAST(:run_id AS bigint) AS run_id, CAST(:kind AS text) AS kind, CAST(:queue AS text) AS queue,
           CAST(:stage AS int) AS stage, CAST(NULL AS bigint) AS prompt_id, CAST(NULL AS bigint) AS teacher_id,
           0 AS sample_index, CAST(NULL AS bigint) AS generation_id, CAST(NULL AS bigint) AS scorer_id
), new AS (
    INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, generation_id, scorer_id)
    SELECT run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, generation_id, scorer_id
    FROM source
    RETURNING run_id, queue, stage
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, 'ready', count(*) FROM new GROUP BY run_id, queue, stage
    RETURNING jobs
)
SELECT coalesce(sum(jobs), 0) FROM counted;
