-- As hold.sql, before a claim: claims move the lease's deadline, and two that only shared the lock would deadlock. A
-- claim that a crash of Postgres undoes costs an answer computed twice, never one lost or stored twice, so it need not
-- wait for the disk; the commit that stores results does, and takes the claim along. And whatever the statistics of a
-- table that was empty a minute ago say, a claim never reads the table from end to end; so planning it once will do.
-- Called by protocol.claim.
-- Index: pk_lease, or ix_lease_open while few leases are open.
SELECT set_config('idle_in_transaction_session_timeout', :patience_ms, true),
       set_config('synchronous_commit', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR NO KEY UPDATE;
