-- Lock the leases that ran out or passed their deadline, and return their ids. A lease whose worker is committing right
-- now is left to the next round: one worker that hangs in its transaction must not keep the reaper, and with it
-- everybody's lost jobs, waiting.
-- Called by protocol.reap.
-- Index: ix_lease_open lists the leases that are open.
SELECT id FROM lease
WHERE revoked_at IS NULL AND (expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
ORDER BY id FOR UPDATE SKIP LOCKED;
