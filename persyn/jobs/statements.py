"""The statements of the protocol in persyn/jobs/protocol.py, each readable whole.

A change of state is one statement: it writes `job`, the event that says so, and `job_count`, so that no crash can leave
one without the other. Postgres is asked for what it can answer from one of two small indexes, whatever the table holds:

- `ix_job_ready` lists the jobs that wait, lane by lane: a **lane** is what a queue has of one run and stage. Within
  a lane jobs stand in the order in which they become due, so that a thousand retries that wait cost a claim nothing.
- `ix_job_suspect` lists the few that were lost too often and run alone.
"""

from sqlalchemy import text

from persyn.jobs import pauses

# From this many losses on a job runs alone, so that a prompt that kills the engine takes no neighbour with it.
# It stands in the statements as a number, or Postgres would not see that the partial indexes apply.
ALONE_AFTER_LOSSES = 2

_READY = f"state = 'ready' AND lost_count < {ALONE_AFTER_LOSSES}"
_SUSPECT = f"state = 'ready' AND lost_count >= {ALONE_AFTER_LOSSES}"
# Not clock_timestamp(): that may not bound an index scan. A job that this very statement makes due waits for the next.
_DUE = "not_before <= statement_timestamp()"


def _counted(changed: str, old: str, new: str) -> str:
    """The part of a statement that notes how many jobs moved from the state `old` to `new` (SQL expressions)."""
    return f"""
    INSERT INTO job_count (run_id, queue, priority, state, jobs)
    SELECT run_id, queue, priority, side.state, sum(side.jobs)
    FROM {changed} CROSS JOIN LATERAL (VALUES ({old}, -1), ({new}, 1)) AS side (state, jobs)
    GROUP BY run_id, queue, priority, side.state"""


# Without statistics the planner may choose no bad plan here: the rows that exist already are found by the unique
# indexes, one by one. An anti-join with `job` would read a table that grows meanwhile, once a row.
_ENQUEUE = """
WITH new AS (
    INSERT INTO job (run_id, kind, queue, priority, prompt_id, teacher_id, sample_index, generation_id, scorer_id)
    SELECT run_id, kind, queue, priority, prompt_id, teacher_id, 0, generation_id, scorer_id
    FROM ({{source}}) AS source
    {existing}
    RETURNING run_id, queue, priority
), counted AS (
    INSERT INTO job_count (run_id, queue, priority, state, jobs)
    SELECT run_id, queue, priority, 'ready', count(*) FROM new GROUP BY run_id, queue, priority
    RETURNING jobs
)
SELECT coalesce(sum(jobs), 0) FROM counted
"""
ENQUEUE = _ENQUEUE.format(existing="ON CONFLICT DO NOTHING")
# Looking for a conflict before each row, in four indexes, and marking it as settled afterwards is a third of the time.
ENQUEUE_NEW = _ENQUEUE.format(existing="")

OPEN_LEASE = text("""
INSERT INTO lease (worker, host, queue, expires_at, deadline_at)
VALUES (:worker, :host, :queue,
        clock_timestamp() + make_interval(secs => :ttl), clock_timestamp() + make_interval(secs => :deadline))
RETURNING id
""")

# Postgres ends a holder that idles, so that a worker stopped in its transaction gives up its lease at last.
_LIMIT_IDLING = "SELECT set_config('idle_in_transaction_session_timeout', :patience_ms, true)"
LIMIT_IDLING = text(_LIMIT_IDLING)
_HOLD = f"""
{_LIMIT_IDLING}{{more}}
FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR {{lock}}
"""
# What is stored under a lease goes in side by side. Claims move its deadline: two that only shared it would deadlock.
HOLD_SHARED = text(_HOLD.format(more="", lock="SHARE"))
# A claim that a crash of Postgres undoes costs an answer computed twice, never one lost or stored twice, so it need not
# wait for the disk; the commit that stores results does, and takes the claim along. And whatever the statistics of a
# table that was empty a minute ago say, a claim never reads the table from end to end; so planning it once will do.
HOLD_TO_CLAIM = text(
    _HOLD.format(
        more=""",
       set_config('synchronous_commit', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)""",
        lock="NO KEY UPDATE",
    )
)

# Looking for work is held to the indexes as a claim is.
BY_INDEX = text("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)")

# One probe of the index for each lane that has something ready, however long the lanes are.
_LANES = f"""
    (SELECT queue, run_id, priority FROM job WHERE {_READY} {{of_queue}} ORDER BY queue, run_id, priority LIMIT 1)
    UNION ALL
    SELECT further.* FROM lane CROSS JOIN LATERAL (
        SELECT queue, run_id, priority FROM job WHERE {_READY} {{of_queue}} AND {{further}}
        ORDER BY queue, run_id, priority LIMIT 1) AS further
"""
# Postgres takes a comparison of rows as the place to start reading from only where no column is named twice.
_LANES_OF_QUEUE = _LANES.format(
    of_queue="AND queue = :queue", further="(run_id, priority) > (lane.run_id, lane.priority)"
)
_LANES_OF_ALL = _LANES.format(
    of_queue="", further="(queue, run_id, priority) > (lane.queue, lane.run_id, lane.priority)"
)

# Earlier stages first, then the older run. A run's teachers and scorers are fixed, so a lane that has none of those
# asked for is passed over as a whole.
_OPEN_LANES = f"""
    SELECT lane.run_id, lane.priority FROM lane JOIN run ON run.id = lane.run_id
    WHERE run.paused_at IS NULL AND {pauses.QUEUE_IS_OPEN.format(queue="lane.queue")}
      AND (CAST(:teacher_id AS bigint) IS NULL OR EXISTS (
           SELECT FROM run_teacher AS rt WHERE rt.run_id = lane.run_id AND rt.teacher_id = :teacher_id))
    ORDER BY lane.priority, lane.run_id
"""
_WANTED = """(CAST(:teacher_id AS bigint) IS NULL OR teacher_id = :teacher_id)
          AND (CAST(:scorer_ids AS bigint[]) IS NULL OR scorer_id = ANY(:scorer_ids))"""
_TAKE = f"""
, claimed AS (
    UPDATE job SET state = 'leased', lease_id = :lease_id, attempt = attempt + 1
    FROM candidate WHERE job.id = candidate.id
    RETURNING job.id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id,
              attempt, lost_count, queue, priority, not_before
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt)
    SELECT id, 'claimed', :lease_id, attempt FROM claimed
), counted AS ({_counted("claimed", "'ready'", "'leased'")}
), extended AS (
    UPDATE lease SET deadline_at = clock_timestamp() + make_interval(secs => :deadline)
    WHERE id = :lease_id AND EXISTS (SELECT FROM claimed)
)
SELECT id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id, attempt, lost_count,
       priority, not_before
FROM claimed ORDER BY priority, run_id, not_before, id
"""

_CLAIM = f"""
WITH RECURSIVE lane AS ({{lanes}}
), open_lane AS MATERIALIZED ({_OPEN_LANES}
), candidate AS MATERIALIZED (
    SELECT due.id FROM open_lane CROSS JOIN LATERAL (
        SELECT id FROM job
        WHERE queue = :queue AND run_id = open_lane.run_id AND priority = open_lane.priority
          AND {_READY} AND {_DUE} AND {_WANTED} {{beyond}}
        ORDER BY not_before, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED) AS due
    WHERE NOT EXISTS (
        SELECT FROM job AS held WHERE held.lease_id = :lease_id AND held.lost_count >= {ALONE_AFTER_LOSSES})
    LIMIT :limit
){_TAKE}"""
CLAIM = text(_CLAIM.format(lanes=_LANES_OF_QUEUE, beyond=""))
# The same for one lane, from where an earlier claim of it ended. The index keeps an entry for each job that was ready
# once until VACUUM comes, which any open transaction keeps from removing it: from its head, a lane costs more with each
# job that is done.
CLAIM_ON = text(
    _CLAIM.format(
        lanes=" SELECT CAST(:queue AS text) AS queue, CAST(:run_id AS bigint) AS run_id,"
        " CAST(:priority AS int) AS priority",
        beyond="AND (not_before, id) > (CAST(:not_before AS timestamptz), CAST(:job_id AS bigint))",
    )
)

CLAIM_SUSPECT = text(f"""
WITH candidate AS MATERIALIZED (
    SELECT id FROM job
    WHERE queue = :queue AND {_SUSPECT} AND {_DUE} AND {_WANTED}
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
      AND {pauses.QUEUE_IS_OPEN.format(queue="job.queue")}
      AND NOT EXISTS (SELECT FROM job AS held WHERE held.lease_id = :lease_id)
    ORDER BY priority, run_id, not_before, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
){_TAKE}""")

HEARTBEAT = text("""
UPDATE lease SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => :ttl)
WHERE id = :lease_id AND revoked_at IS NULL AND expires_at > clock_timestamp()
""")

COMPLETE = text(f"""
WITH finished AS (
    UPDATE job SET state = 'done', finished_at = clock_timestamp(), lease_id = NULL, error_code = NULL
    WHERE id = ANY(:job_ids) AND lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt, run_id, queue, priority
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt)
    SELECT id, 'completed', :lease_id, attempt FROM finished
), counted AS ({_counted("finished", "'leased'", "'done'")}
)
SELECT id FROM finished
""")

RETRY = text(f"""
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
    RETURNING job.id, job.state, attempt, code, message, run_id, queue, priority
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'retried' END, :lease_id, attempt, code, message FROM failed
), counted AS ({_counted("failed", "'leased'", "failed.state")}
)
SELECT code, state, count(*) AS jobs FROM failed GROUP BY code, state
""")

# A lost or released try gave no answer and no error: it counts as a loss, or not at all, never as an attempt. Its job
# was due before and keeps its place.
RELEASE = text(f"""
WITH released AS (
    UPDATE job SET state = 'ready', lease_id = NULL, attempt = attempt - 1
    WHERE lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt, run_id, queue, priority
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, detail)
    SELECT id, 'released', :lease_id, attempt + 1, :detail FROM released
), counted AS ({_counted("released", "'leased'", "'ready'")}
)
SELECT count(*) FROM released
""")

# The loss that makes `:losses` of them is the last: how many that is, and what it is called, depends on who lost it.
LOSE = text(f"""
WITH lost AS (
    UPDATE job
    SET state = CASE WHEN lost_count + 1 >= :losses THEN 'dead' ELSE 'ready' END,
        finished_at = CASE WHEN lost_count + 1 >= :losses THEN clock_timestamp() END,
        error_code = CASE WHEN lost_count + 1 >= :losses THEN :code ELSE error_code END,
        lease_id = NULL, attempt = attempt - 1, lost_count = lost_count + 1
    FROM unnest(CAST(:lease_ids AS bigint[])) AS gone (lease)
    WHERE lease_id = gone.lease AND job.state = 'leased'
      AND (CAST(:job_ids AS bigint[]) IS NULL OR job.id = ANY(:job_ids))
    RETURNING job.id, gone.lease, job.state, attempt, error_code, run_id, queue, priority
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'lost' END, lease, attempt + 1,
           CASE state WHEN 'dead' THEN :code END, :detail
    FROM lost
), counted AS ({_counted("lost", "'leased'", "lost.state")}
)
SELECT state, count(*) AS jobs FROM lost GROUP BY state
""")

REVOKE = text("""
UPDATE lease SET revoked_at = clock_timestamp(), reason = CASE
    WHEN CAST(:reason AS text) IS NOT NULL THEN :reason
    WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'deadline' END
WHERE id = ANY(:lease_ids) AND revoked_at IS NULL
""")

# A lease whose worker is committing right now is left to the next round: one worker that hangs in its transaction
# must not keep the reaper, and with it everybody's lost jobs, waiting.
OVERDUE = text("""
SELECT id FROM lease
WHERE revoked_at IS NULL AND (expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
ORDER BY id FOR UPDATE SKIP LOCKED
""")

# A lane is counted up to :at_most rows; of a longer one all that is ready counts, due or not.
WAITING = text(f"""
WITH RECURSIVE lane AS ({_LANES_OF_ALL}
), due AS (
    SELECT lane.queue, CASE WHEN head.jobs < :at_most THEN head.jobs ELSE greatest(head.jobs, (
               SELECT sum(c.jobs) FROM job_count c
               WHERE c.run_id = lane.run_id AND c.queue = lane.queue AND c.priority = lane.priority
                 AND c.state = 'ready')) END AS jobs
    FROM lane JOIN run ON run.id = lane.run_id CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM job
            WHERE queue = lane.queue AND run_id = lane.run_id AND priority = lane.priority AND {_READY} AND {_DUE}
            LIMIT :at_most) AS few) AS head
    WHERE run.paused_at IS NULL
    UNION ALL
    SELECT queue, count(*) FROM job
    WHERE {_SUSPECT} AND {_DUE} AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
    GROUP BY queue
)
SELECT queue, CAST(sum(jobs) AS bigint) AS jobs FROM due
WHERE jobs > 0 AND {pauses.QUEUE_IS_OPEN.format(queue="due.queue")} GROUP BY queue ORDER BY queue
""")

NEXT_GROUP = text(f"""
WITH RECURSIVE lane AS ({_LANES_OF_QUEUE}
), open_lane AS MATERIALIZED ({_OPEN_LANES.replace(":teacher_id", "NULL")}
), ready AS (
    SELECT head.* FROM open_lane CROSS JOIN LATERAL (
        SELECT teacher_id, scorer_id FROM job
        WHERE queue = :queue AND run_id = open_lane.run_id AND priority = open_lane.priority AND {_READY} AND {_DUE}
        ORDER BY not_before, id LIMIT 1) AS head
    LIMIT 1
), suspect AS (
    SELECT teacher_id, scorer_id FROM job
    WHERE queue = :queue AND {_SUSPECT} AND {_DUE}
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)
      AND {pauses.QUEUE_IS_OPEN.format(queue="job.queue")}
    ORDER BY priority, run_id, not_before, id LIMIT 1
)
SELECT teacher_id, scorer_id FROM ready
UNION ALL
SELECT teacher_id, scorer_id FROM suspect WHERE NOT EXISTS (SELECT FROM ready)
""")

# The statement that an operator's change of some jobs is made with.
OPERATE = f"""
WITH before AS MATERIALIZED (
    SELECT id, state AS old_state FROM job
    WHERE id = ANY(:ids) AND state = ANY(string_to_array(:states, ',')) ORDER BY id FOR UPDATE
), changed AS (
    UPDATE job SET {{changes}} FROM before WHERE job.id = before.id
    RETURNING job.id, attempt, old_state, state, run_id, queue, priority
), logged AS (
    INSERT INTO job_event (job_id, event, attempt) SELECT id, :event, attempt FROM changed
), counted AS ({_counted("changed", "old_state", "changed.state")}
), reopened AS (
    UPDATE run SET finished_at = NULL WHERE id IN (SELECT run_id FROM changed)
)
SELECT count(*) FROM changed
"""

COUNTS = text("""
SELECT run_id, queue, priority, state, CAST(sum(jobs) AS bigint) AS jobs FROM job_count
WHERE CAST(:run_id AS bigint) IS NULL OR run_id = :run_id
GROUP BY run_id, queue, priority, state HAVING sum(jobs) <> 0
ORDER BY run_id, priority, queue, state
""")

# Whoever reads the sums sees the rows before or after this, never half of it.
FOLD = text("""
WITH folded AS (
    DELETE FROM job_count WHERE (SELECT count(*) FROM job_count) > :at_most
    RETURNING run_id, queue, priority, state, jobs
)
INSERT INTO job_count (run_id, queue, priority, state, jobs)
SELECT run_id, queue, priority, state, sum(jobs) FROM folded
GROUP BY run_id, queue, priority, state HAVING sum(jobs) <> 0
""")
