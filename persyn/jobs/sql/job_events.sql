-- All that happened to one job, with the worker under whose lease it did.
-- Called by operators.show.
-- Index: pk_job, pk_job_event.
SELECT e.at, e.event, e.attempt, e.lease_id, l.worker, l.host, e.error_code, e.detail
FROM audit.job_history e LEFT JOIN lease l ON l.id = e.lease_id WHERE e.job_id = :id ORDER BY e.id;
