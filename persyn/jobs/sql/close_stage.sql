-- Keep a run's open jobs of a whole stage from being claimed until open_stage.sql says so, as what they read is made
-- anew; where some of them are being worked on, returns how many and closes none.
-- Called by protocol.close_stage.
-- Index: ix_job_stage.
WITH held AS MATERIALIZED (
    SELECT count(*) AS jobs FROM job
    WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route') AND lease_id IS NOT NULL
), closed AS (
    UPDATE job SET not_before = clock_timestamp() + interval '100 years'
    WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route')
      AND lease_id IS NULL AND finished_at IS NULL AND (SELECT jobs FROM held) = 0
)
SELECT jobs FROM held;
