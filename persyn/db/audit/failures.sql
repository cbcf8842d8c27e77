-- What went wrong in a run: how often, in which queue, how it ended, and an example of each? A dead job counts once in
-- `dead_now`, in the row of the error that ended it.
SELECT r.id AS run_id,
       r.name AS run,
       j.queue,
       e.event,
       coalesce(e.error_code, '') AS error_code,
       count(*) AS times,
       count(DISTINCT j.id) AS jobs,
       count(DISTINCT j.id) FILTER (
           WHERE j.state = 'dead' AND e.event = 'died' AND e.error_code = j.error_code
             AND e.id = (SELECT max(last.id) FROM job_event AS last WHERE last.job_id = j.id)) AS dead_now,
       max(e.at) AS last_at,
       (array_agg(e.job_id ORDER BY e.id DESC))[1] AS example_job_id,
       (array_agg(e.detail ORDER BY e.id DESC))[1] AS example_detail
FROM job_event e
JOIN job j ON j.id = e.job_id
JOIN run r ON r.id = j.run_id
WHERE e.event IN ('retried', 'lost', 'died', 'released')
GROUP BY r.id, r.name, j.queue, e.event, coalesce(e.error_code, '')
ORDER BY r.id, times DESC, j.queue
