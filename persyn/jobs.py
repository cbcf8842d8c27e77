"""The job and lease protocol (docs/state_machine.md), and the only writer of `job.state`.

Computed at least once, stored exactly once: whoever stores a result must still hold the lease it was computed under,
and the check, the change of state, its event and the result share one transaction. No function here commits.
All times are the database's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text

from persyn import pauses
from persyn.errors import LeaseLost
from persyn.states import JobEvent

LEASE_TTL_S = 90
LEASE_DEADLINE_S = 3600
HOLD_IDLE_S: float = 60
MAX_ATTEMPTS = 5
# From this many losses on a job runs alone, so that a prompt that kills the engine takes no neighbour with it.
ALONE_AFTER_LOSSES = 2
BACKOFF_CAP_S = 300
# A server may ask for any wait, even one that no timestamp can hold.
RETRY_AFTER_CAP_S = 3600
DETAIL_LIMIT = 2000
_REAPER_LOCK = 7_326_119_002


class Claim(NamedTuple):
    """A job that this lease now owns."""

    id: int
    run_id: int
    kind: str
    prompt_id: int | None
    teacher_id: int | None
    sample_index: int
    generation_id: int | None
    scorer_id: int | None
    attempt: int
    lost_count: int


class Failure(NamedTuple):
    """Why a job gave no result. `retry_after_s` is a wait that the server asked for."""

    job_id: int
    code: str
    message: str
    permanent: bool
    retry_after_s: float | None = None


_ENQUEUE = """
WITH new AS (
    INSERT INTO job (run_id, kind, queue, priority, prompt_id, teacher_id, sample_index, generation_id, scorer_id)
    SELECT run_id, kind, queue, priority, prompt_id, teacher_id, 0, generation_id, scorer_id
    FROM ({source}) AS source
    ON CONFLICT DO NOTHING
    RETURNING id
), logged AS (
    INSERT INTO job_event (job_id, event, attempt) SELECT id, 'enqueued', 0 FROM new
)
SELECT count(*) FROM new
"""

# What is paused is neither claimed nor counted as waiting.
_OPEN = f"""{pauses.QUEUE_IS_OPEN.format(queue="job.queue")}
      AND run_id NOT IN (SELECT id FROM run WHERE paused_at IS NOT NULL)"""

_OPEN_LEASE = text("""
INSERT INTO lease (worker, host, queue, expires_at, deadline_at)
VALUES (:worker, :host, :queue,
        clock_timestamp() + make_interval(secs => :ttl), clock_timestamp() + make_interval(secs => :deadline))
RETURNING id
""")

_CLAIM = text(f"""
WITH candidate AS MATERIALIZED (
    SELECT id FROM job
    WHERE queue = :queue AND state = 'ready' AND not_before <= clock_timestamp()
      AND (lost_count >= :alone) = :suspects
      AND NOT EXISTS (SELECT FROM job AS held WHERE held.lease_id = :lease_id
                      AND (:suspects OR held.lost_count >= :alone))
      AND (CAST(:teacher_id AS bigint) IS NULL OR teacher_id = :teacher_id)
      AND (CAST(:scorer_ids AS bigint[]) IS NULL OR scorer_id = ANY(:scorer_ids))
      AND {_OPEN}
    ORDER BY priority, id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 'leased', lease_id = :lease_id, attempt = attempt + 1
    FROM candidate WHERE job.id = candidate.id
    RETURNING job.id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id,
              attempt, lost_count, priority
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt)
    SELECT id, 'claimed', :lease_id, attempt FROM claimed
)
SELECT id, run_id, kind, prompt_id, teacher_id, sample_index, generation_id, scorer_id, attempt, lost_count
FROM claimed ORDER BY priority, id
""")

# Postgres ends a holder that idles, so that a worker stopped in its transaction gives up its lease at last.
_HOLD = """
SELECT set_config('idle_in_transaction_session_timeout', :patience_ms, true)
FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR {lock}
"""
# What is stored under a lease goes in side by side. Claims move its deadline: two that only shared it would deadlock.
_HOLD_SHARED = text(_HOLD.format(lock="SHARE"))
_HOLD_ALONE = text(_HOLD.format(lock="NO KEY UPDATE"))

_HEARTBEAT = text("""
UPDATE lease SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => :ttl)
WHERE id = :lease_id AND revoked_at IS NULL AND expires_at > clock_timestamp()
""")

_EXTEND = text("""
UPDATE lease SET deadline_at = clock_timestamp() + make_interval(secs => :deadline) WHERE id = :lease_id
""")

_COMPLETE = text("""
WITH finished AS (
    UPDATE job SET state = 'done', finished_at = clock_timestamp(), lease_id = NULL, error_code = NULL
    WHERE id = ANY(:job_ids) AND lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt)
    SELECT id, 'completed', :lease_id, attempt FROM finished
)
SELECT id FROM finished
""")

_RETRY = text("""
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
    RETURNING job.id, job.state, attempt, code, message
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'retried' END, :lease_id, attempt, code, message FROM failed
)
SELECT count(*) FROM failed
""")

# A lost or released try gave no answer and no error: it counts as a loss, or not at all, never as an attempt.
_RELEASE = text("""
WITH released AS (
    UPDATE job SET state = 'ready', lease_id = NULL, attempt = attempt - 1, not_before = clock_timestamp()
    WHERE lease_id = :lease_id AND state = 'leased'
    RETURNING id, attempt
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, detail)
    SELECT id, 'released', :lease_id, attempt + 1, :detail FROM released
)
SELECT count(*) FROM released
""")

_LOSE = text("""
WITH lost AS (
    UPDATE job
    SET state = CASE WHEN lost_count >= :alone THEN 'dead' ELSE 'ready' END,
        finished_at = CASE WHEN lost_count >= :alone THEN clock_timestamp() END,
        error_code = CASE WHEN lost_count >= :alone THEN 'poison' ELSE error_code END,
        lease_id = NULL, attempt = attempt - 1, lost_count = lost_count + 1, not_before = clock_timestamp()
    FROM unnest(CAST(:lease_ids AS bigint[])) AS gone (lease)
    WHERE lease_id = gone.lease AND job.state = 'leased'
      AND (CAST(:job_ids AS bigint[]) IS NULL OR job.id = ANY(:job_ids))
    RETURNING job.id, gone.lease, job.state, attempt, error_code
), logged AS (
    INSERT INTO job_event (job_id, event, lease_id, attempt, error_code, detail)
    SELECT id, CASE state WHEN 'dead' THEN 'died' ELSE 'lost' END, lease, attempt + 1,
           CASE state WHEN 'dead' THEN 'poison' END, :detail
    FROM lost
)
SELECT count(*) FROM lost
""")

_REVOKE = text("""
UPDATE lease SET revoked_at = clock_timestamp(), reason = CASE
    WHEN CAST(:reason AS text) IS NOT NULL THEN :reason
    WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'deadline' END
WHERE id = ANY(:lease_ids) AND revoked_at IS NULL
""")

# A lease whose worker is committing right now is left to the next round: one worker that hangs in its transaction
# must not keep the reaper, and with it everybody's lost jobs, waiting.
_OVERDUE = text("""
SELECT id FROM lease
WHERE revoked_at IS NULL AND (expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
ORDER BY id FOR UPDATE SKIP LOCKED
""")


def enqueue(conn: Connection, source: str, params: Mapping[str, Any]) -> int:
    """Make a ready job of every row of a SELECT, skipping those that exist already.

    `source` yields run_id, kind, queue, priority, prompt_id, teacher_id, generation_id, scorer_id.
    Returns how many are new.
    """
    return int(conn.execute(text(_ENQUEUE.format(source=source)), params).scalar_one())


def enqueue_stage(conn: Connection, run_id: int, kind: str, queue: str, stage: int) -> int:
    """The one job of a stage that a run does as a whole; returns 1 if it is new."""
    source = """
    SELECT CAST(:run_id AS bigint) AS run_id, CAST(:kind AS text) AS kind, CAST(:queue AS text) AS queue,
           CAST(:stage AS int) AS priority, NULL::bigint AS prompt_id, NULL::bigint AS teacher_id,
           NULL::bigint AS generation_id, NULL::bigint AS scorer_id
    """
    return enqueue(conn, source, {"run_id": run_id, "kind": kind, "queue": queue, "stage": stage})


def open_lease(
    conn: Connection, *, worker: str, host: str, queue: str,
    ttl_s: float = LEASE_TTL_S, deadline_s: float = LEASE_DEADLINE_S,
) -> int:  # fmt: skip
    values = {"worker": worker, "host": host, "queue": queue, "ttl": ttl_s, "deadline": deadline_s}
    return int(conn.execute(_OPEN_LEASE, values).scalar_one())


def hold(conn: Connection, lease_id: int) -> None:
    """Keep the lease from being revoked until this transaction ends.

    A transaction that then idles for HOLD_IDLE_S is ended by Postgres. Raises LeaseLost where it was revoked already.
    """
    _hold(conn, lease_id, _HOLD_SHARED)


def _hold(conn: Connection, lease_id: int, statement: TextClause) -> None:
    values = {"lease_id": lease_id, "patience_ms": f"{HOLD_IDLE_S * 1000:.0f}"}
    if conn.execute(statement, values).first() is None:
        raise LeaseLost(f"Lease {lease_id} was revoked; its results are dropped and others do its jobs.")


def claim(
    conn: Connection, lease_id: int, queue: str, limit: int, *, idle: bool = True,
    teacher_id: int | None = None, scorer_ids: Sequence[int] | None = None, deadline_s: float = LEASE_DEADLINE_S,
) -> list[Claim]:  # fmt: skip
    """Take up to `limit` jobs that are due, those of earlier stages first.

    A job that was lost too often is taken alone: only by a caller with nothing in flight (`idle`), when nothing else
    is due; nothing joins it until it is finished. Claiming is progress, so it moves the lease's deadline.
    Raises LeaseLost.
    """
    _hold(conn, lease_id, _HOLD_ALONE)
    values = {
        "lease_id": lease_id, "queue": queue, "teacher_id": teacher_id,
        "scorer_ids": None if scorer_ids is None else list(scorer_ids),
        "alone": ALONE_AFTER_LOSSES,
    }  # fmt: skip
    rows = conn.execute(_CLAIM, {**values, "suspects": False, "limit": limit}).all()
    if not rows and idle:
        rows = conn.execute(_CLAIM, {**values, "suspects": True, "limit": 1}).all()
    if rows:
        conn.execute(_EXTEND, {"lease_id": lease_id, "deadline": deadline_s})
    return [Claim(*row) for row in rows]


def heartbeat(conn: Connection, lease_id: int, ttl_s: float = LEASE_TTL_S) -> bool:
    """Renew the lease; False means that it is gone and everything under it must be dropped."""
    return conn.execute(_HEARTBEAT, {"lease_id": lease_id, "ttl": ttl_s}).rowcount == 1


def complete(conn: Connection, lease_id: int, job_ids: Sequence[int]) -> frozenset[int]:
    """Mark jobs done and return those that were still this lease's: only their results may be stored.

    Raises LeaseLost where the lease was revoked.
    """
    hold(conn, lease_id)
    rows = conn.execute(_COMPLETE, {"lease_id": lease_id, "job_ids": list(job_ids)})
    return frozenset(row.id for row in rows)


def fail(conn: Connection, lease_id: int, failures: Sequence[Failure]) -> int:
    """Send jobs back to wait for a retry, or end them where that is pointless. Raises LeaseLost."""
    hold(conn, lease_id)
    values = {
        "lease_id": lease_id,
        "job_ids": [failure.job_id for failure in failures],
        "codes": [failure.code for failure in failures],
        "messages": [storable(failure.message) for failure in failures],
        "permanent": [failure.permanent for failure in failures],
        # psycopg takes no list that mixes int and float
        "waits": [None if failure.retry_after_s is None else float(failure.retry_after_s) for failure in failures],
        "max_attempts": MAX_ATTEMPTS, "cap": BACKOFF_CAP_S, "wait_cap": RETRY_AFTER_CAP_S,
    }  # fmt: skip
    return int(conn.execute(_RETRY, values).scalar_one())


def lose(conn: Connection, lease_id: int, job_ids: Sequence[int], detail: str) -> int:
    """Give back jobs whose server died under them; each counts a loss, and one that died alone is poison.

    Raises LeaseLost.
    """
    hold(conn, lease_id)
    return _lose(conn, [lease_id], list(job_ids), storable(detail))


def close(conn: Connection, lease_id: int, detail: str) -> int:
    """Hand back what is unfinished, no attempt spent, and end the lease. Returns how many jobs went back."""
    locked = conn.execute(
        text("SELECT id FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR UPDATE"), {"lease_id": lease_id}
    ).first()
    if locked is None:
        return 0
    released = int(conn.execute(_RELEASE, {"lease_id": lease_id, "detail": storable(detail)}).scalar_one())
    conn.execute(_REVOKE, {"lease_ids": [lease_id], "reason": "released"})
    return released


def reap(conn: Connection) -> int:
    """Revoke leases that ran out or passed their deadline, then release their jobs; returns how many jobs.

    One reaper works at a time; the others find nothing to do. A lease that is held is left to the next round.
    """
    if not conn.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _REAPER_LOCK}).scalar_one():
        return 0
    overdue = [row.id for row in conn.execute(_OVERDUE)]
    if not overdue:
        return 0
    conn.execute(_REVOKE, {"lease_ids": overdue, "reason": None})
    return _lose(conn, overdue, None, "the lease ran out: its worker died, hung or lost the database")


def _lose(conn: Connection, lease_ids: list[int], job_ids: list[int] | None, detail: str) -> int:
    values = {"lease_ids": lease_ids, "job_ids": job_ids, "alone": ALONE_AFTER_LOSSES, "detail": detail}
    return int(conn.execute(_LOSE, values).scalar_one())


def waiting(conn: Connection) -> dict[str, int]:
    """Queue → how many of its jobs are due."""
    rows = conn.execute(
        text(f"""
        SELECT queue, count(*) AS jobs FROM job
        WHERE state = 'ready' AND not_before <= clock_timestamp() AND {_OPEN} GROUP BY queue ORDER BY queue
        """)
    )
    return {row.queue: row.jobs for row in rows}


def next_group(conn: Connection, queue: str) -> tuple[int | None, int | None] | None:
    """The (teacher_id, scorer_id) of the queue's first due job; None when nothing is due."""
    row = conn.execute(
        text(f"""
        SELECT teacher_id, scorer_id FROM job
        WHERE queue = :queue AND state = 'ready' AND not_before <= clock_timestamp() AND {_OPEN}
        ORDER BY lost_count >= :alone, priority, id LIMIT 1
        """),
        {"queue": queue, "alone": ALONE_AFTER_LOSSES},
    ).first()
    return None if row is None else (row.teacher_id, row.scorer_id)


def history(conn: Connection, job_id: int) -> list[JobEvent]:
    rows = conn.execute(text("SELECT event FROM job_event WHERE job_id = :id ORDER BY id"), {"id": job_id})
    return [JobEvent(row.event) for row in rows]


def cancel(conn: Connection, job_ids: Sequence[int]) -> int:
    """Take back jobs that are ready or dead; a leased one finishes first."""
    return _operate(conn, job_ids, "state = 'cancelled', finished_at = clock_timestamp()", "ready,dead", "cancelled")


def revive(conn: Connection, job_ids: Sequence[int]) -> int:
    """Give dead jobs a fresh start, with no attempt and no loss on their account."""
    changes = (
        "state = 'ready', finished_at = NULL, error_code = NULL, attempt = 0, lost_count = 0,"
        " not_before = clock_timestamp()"
    )
    return _operate(conn, job_ids, changes, "dead", "revived")


def _operate(conn: Connection, job_ids: Sequence[int], changes: str, states: str, event: str) -> int:
    statement = text(f"""
    WITH changed AS (
        UPDATE job SET {changes} WHERE id = ANY(:ids) AND state = ANY(string_to_array(:states, ','))
        RETURNING id, attempt, run_id
    ), logged AS (
        INSERT INTO job_event (job_id, event, attempt) SELECT id, :event, attempt FROM changed
    ), reopened AS (
        UPDATE run SET finished_at = NULL WHERE id IN (SELECT run_id FROM changed)
    )
    SELECT count(*) FROM changed
    """)
    return int(conn.execute(statement, {"ids": list(job_ids), "states": states, "event": event}).scalar_one())


def storable(message: str) -> str:
    """An error's text as Postgres takes it: no NUL, no lone surrogate, cut to a length one can read."""
    clean = message.replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= DETAIL_LIMIT else clean[: DETAIL_LIMIT - 1] + "…"
