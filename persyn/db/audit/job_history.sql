-- What happened to a job, event by event, from when it was enqueued?
SELECT j.id AS job_id, 0::bigint AS id, 'enqueued' AS event, j.created_at AS at, NULL::bigint AS lease_id,
       0 AS attempt, NULL::text AS error_code, NULL::text AS detail
FROM job j
UNION ALL
SELECT e.job_id, e.id, e.event, e.at, e.lease_id, e.attempt, e.error_code, e.detail
FROM job_event e
WHERE e.event <> 'enqueued'
