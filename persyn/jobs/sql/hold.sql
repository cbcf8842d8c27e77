-- Keep a lease from being revoked until this transaction ends; no row where it was revoked already. What is stored
-- under a lease goes in side by side, so the lock is shared. Postgres ends a holder that idles, so that a worker
-- stopped in its transaction gives up its lease at last.
-- Called by protocol.hold.
-- Index: pk_lease, or ix_lease_open while few leases are open.
SELECT set_config('idle_in_transaction_session_timeout', :patience_ms, true)
FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR SHARE;
