-- Let a run's jobs of a whole stage be claimed from now on, where they were given a fresh start, or claimed, before what
-- they read was final.
-- Called by protocol.open_stage.
-- Index: ix_job_stage.
UPDATE job SET not_before = clock_timestamp()
WHERE run_id = :run_id AND kind = :kind AND kind IN ('train_router', 'route')
  AND not_before > clock_timestamp() + interval '10 years';
