-- Renew a lease that has not run out; no row changes where it is gone.
-- Called by protocol.heartbeat.
-- Index: pk_lease, or ix_lease_open while few leases are open.
UPDATE lease SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => :ttl)
WHERE id = :lease_id AND revoked_at IS NULL AND expires_at > clock_timestamp();
