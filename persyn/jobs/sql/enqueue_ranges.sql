-- Make a ready job of every row of `source`, a range of prompts to be routed; returns how many are new.
-- Called by protocol.enqueue_ranges, which puts a SELECT in the place of the one in `source`.
-- Index: none is read; the unique one of ranges finds those that are open already.
WITH source AS (
    SELECT CAST(:run_id AS bigint) AS run_id, CAST(:queue AS text) AS queue, CAST(:stage AS int) AS stage,
           CAST(1 AS bigint) AS first_prompt_id, CAST(2 AS bigint) AS last_prompt_id
), new AS (
    INSERT INTO job (run_id, kind, queue, stage, first_prompt_id, last_prompt_id)
    SELECT run_id, 'route', queue, stage, first_prompt_id, last_prompt_id FROM source
    ON CONFLICT DO NOTHING
    RETURNING run_id, queue, stage
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, 'ready', count(*) FROM new GROUP BY run_id, queue, stage
    RETURNING jobs
)
SELECT coalesce(sum(jobs), 0) FROM counted;
