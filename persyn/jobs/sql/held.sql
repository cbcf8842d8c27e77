-- The ids of the jobs that a lease holds.
-- Called by protocol.give_up, which holds the lease.
-- Index: ix_job_lease_id.
SELECT id FROM job WHERE lease_id = :lease_id AND state = 'leased' ORDER BY id;
