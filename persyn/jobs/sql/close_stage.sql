-- Keep a run's open job of a whole stage from being claimed until open_stage.sql says so, as what it reads is made anew;
-- returns how many are being worked on.
-- Called by protocol.close_stage.
-- Index: ix_job_stage.
WITH closed AS (
    UPDATE job SET not_before = clock_timestamp() + interval '100 years'
    WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route')
      AND lease_id IS NULL AND finished_at IS NULL
)
SELECT count(*) FROM job
WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route') AND lease_id IS NOT NULL;
