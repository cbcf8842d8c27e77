-- In which state is each run, and why?
SELECT r.id AS run_id,
       r.name AS run,
       CASE WHEN r.cancelled_at IS NOT NULL THEN 'cancelled'
            WHEN r.finished_at IS NOT NULL AND r.blocked_reason IS NOT NULL THEN 'failed'
            WHEN r.finished_at IS NOT NULL AND r.target_stage < 50 THEN 'stopped after ' || stage.name
            WHEN r.finished_at IS NOT NULL THEN 'finished'
            WHEN n.leased > 0 THEN 'in progress'
            WHEN r.target_stage = 0 OR r.paused_at IS NOT NULL OR n.ready > 0 THEN 'waiting'
            ELSE 'in progress' END AS state,
       CASE WHEN r.cancelled_at IS NOT NULL THEN r.cancelled_by || ' cancelled it at '
                || to_char(r.cancelled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
            WHEN r.blocked_reason IS NOT NULL THEN r.blocked_reason
            WHEN r.finished_at IS NOT NULL AND r.target_stage < 50 THEN 'nobody asked for more'
            WHEN r.finished_at IS NOT NULL AND n.dead > 0 THEN n.dead || ' of its jobs are dead'
            WHEN r.finished_at IS NOT NULL AND n.training > 0
                THEN 'nothing is left to do but ' || n.training || ' trainings of its student'
            WHEN r.finished_at IS NOT NULL THEN 'nothing is left to do'
            WHEN n.leased > 0 THEN 'workers hold ' || n.leased || ' of its jobs'
            WHEN r.target_stage = 0 THEN 'nobody has started it'
            WHEN r.paused_at IS NOT NULL THEN 'it is paused'
            WHEN n.ready > 0 THEN 'no worker holds one of its ' || n.ready || ' open jobs'
            ELSE 'the next look at it adds its next jobs' END AS reason,
       n.ready, n.leased, n.done, n.dead, n.cancelled
FROM run r
LEFT JOIN (VALUES (0, 'nothing'), (10, 'calibrate'), (20, 'score'), (30, 'train router'), (40, 'route'))
    AS stage (number, name) ON stage.number = r.target_stage
CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state = 'ready'), 0) AS bigint) AS ready,
           CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state = 'leased'), 0) AS bigint) AS leased,
           CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state = 'done'), 0) AS bigint) AS done,
           CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state = 'dead'), 0) AS bigint) AS dead,
           CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state = 'cancelled'), 0) AS bigint) AS cancelled,
           CAST(coalesce(sum(c.jobs) FILTER (WHERE c.state IN ('ready', 'leased') AND c.stage = 80), 0) AS bigint)
               AS training
    FROM job_count c WHERE c.run_id = r.id) AS n
ORDER BY r.id
