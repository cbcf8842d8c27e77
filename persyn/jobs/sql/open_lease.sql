-- Open a lease for a worker on a queue; returns its id.
-- Called by protocol.open_lease.
-- Index: none; nothing is looked up.
INSERT INTO lease (worker, host, queue, expires_at, deadline_at)
VALUES (:worker, :host, :queue,
        clock_timestamp() + make_interval(secs => :ttl), clock_timestamp() + make_interval(secs => :deadline))
RETURNING id;
