-- Revoke leases that are open; `reason` null: because they ran out, or passed their deadline.
-- Called by protocol.close and protocol.reap.
-- Index: pk_lease, or ix_lease_open while few leases are open.
UPDATE lease SET revoked_at = clock_timestamp(), reason = CASE
    WHEN CAST(:reason AS text) IS NOT NULL THEN :reason
    WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'deadline' END
WHERE id = ANY(:lease_ids) AND revoked_at IS NULL;
