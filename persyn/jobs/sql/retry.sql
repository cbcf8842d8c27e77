-- Send failed jobs of this lease back to wait, or end them where another try is pointless; returns how many of each.
-- After its attempt n a job waits for between half of 2ⁿ s and all of it, `cap` at most before the draw; a server that
-- asks for a longer wait gets it, up to `wait_cap`.
-- Called by protocol.fail, which holds the lease.
-- Index: pk_job or ix_job_lease_id, whichever names fewer jobs.
WITH failure AS (
    SELECT * FROM unnest(CAST(:job_ids AS bigint[]), CAST(:codes AS text[]), CAST(:messages AS text[]),
                         CAST(:permanent AS boolean[]), CAST(:waits AS double precision[]))
        AS f (job_id, code, message, permanent, wait)
), failed AS (
    UPDATE job
    SET state = CASE WHEN permanent OR attempt >= :max_attempts THEN 'dead' ELSE 'ready' END,
        finished_at = CASE WHEN permanent OR attempt >= :max_attempts THEN clock_timestamp() END,
        not_before = clock_timestamp() + make_interval(
            secs => greatest(least(coalesce(wait, 0), :wait_cap),
                             least(power(2, attempt), :cap) * (0.5 + random() / 2))),
        lease_id = NULL, error_code = code
    FROM failure WHERE job.id = failure.job_id AND lease_id = :lease_id AND job.state = 'leased'
    RETURNING job.id, job.state, attempt, code, message, run_id, queue, stage
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'retried' END, :lease_id, attempt, code, message FROM failed
), counted AS (
    INSERT INTO job_count (run_id, queue, stage, state, jobs)
    SELECT run_id, queue, stage, side.state, sum(side.jobs)
    FROM failed CROSS JOIN LATERAL (VALUES ('leased', -1), (failed.state, 1)) AS side (state, jobs)
    GROUP BY run_id, queue, stage, side.state
)
SELECT code, state, count(*) AS jobs FROM failed GROUP BY code, state;
