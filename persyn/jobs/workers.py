"""The `worker` table: each worker describes itself there every few seconds, and reads there that it shall leave."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn.errors import NotFound

# A worker that has not been seen for this long is gone; it says something every few seconds.
GONE_AFTER_S = 60
# Those that left are listed for a day, so that the morning shows what happened at night.
LISTED_FOR_S = 86_400
DRAIN_GRACE_S = 600.0


class WorkerState(StrEnum):
    WORKING = "working"  # drains a queue
    IDLE = "idle"  # waits for a wake-up
    DRAINING = "draining"  # was asked to leave and finishes what it holds
    STOPPED = "stopped"  # left in order
    GONE = "gone"  # was not seen for a minute: killed, cut off, or its host is down


class Unfit(NamedTuple):
    """Work of a queue that a worker cannot do, for a reason of its host's, and when it looks again."""

    queue: str
    reason: str
    again_in_s: float


class WorkerStatus(NamedTuple):
    """A worker's description of itself."""

    queues: Sequence[str]
    queue: str | None  # None while it waits
    teacher: str | None
    tokens_per_s: float | None
    unfit: Sequence[Unfit] = ()


class Worker(NamedTuple):
    name: str
    host: str
    pid: int
    state: WorkerState
    queues: list[str]
    queue: str | None
    teacher: str | None
    model: str | None
    tokens_per_s: float | None
    lease_id: int | None  # its newest open lease
    leased_jobs: int
    heartbeat_at: datetime | None  # of that lease
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    drain_requested_at: datetime | None
    unfit: list[dict[str, str]]  # queue, reason, again_at (ISO 8601) of what it cannot serve now

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

    @property
    def is_there(self) -> bool:
        """Whether it lives and takes work."""
        return self.state in (WorkerState.IDLE, WorkerState.WORKING)


_STARTED = text("""
INSERT INTO worker (name, host, pid, queues) VALUES (:name, :host, :pid, :queues)
ON CONFLICT (name) DO UPDATE SET
    host = EXCLUDED.host, pid = EXCLUDED.pid, queues = EXCLUDED.queues, started_at = clock_timestamp(),
    seen_at = clock_timestamp(), stopped_at = NULL, drain_requested_at = NULL, drain_until = NULL,
    queue = NULL, teacher = NULL, model = NULL, tokens_per_s = NULL, unfit = '[]'
""")

_SEEN = text("""
UPDATE worker SET seen_at = clock_timestamp(), queues = :queues, queue = :queue, teacher = :teacher,
    model = (SELECT t.model FROM teacher t WHERE t.name = :teacher ORDER BY t.id DESC LIMIT 1),
    tokens_per_s = :tokens_per_s,
    unfit = coalesce((
        SELECT jsonb_agg(jsonb_build_object('queue', u.queue, 'reason', u.reason,
                   'again_at', clock_timestamp() + make_interval(secs => u.again_in_s)) ORDER BY u.queue, u.reason)
        FROM unnest(CAST(:unfit_queues AS text[]), CAST(:unfit_reasons AS text[]), CAST(:unfit_waits AS float8[]))
             AS u (queue, reason, again_in_s)), '[]')
WHERE name = :name
RETURNING drain_requested_at IS NOT NULL AS leave, coalesce(drain_until <= clock_timestamp(), false) AS at_once
""")

_WORKERS = text("""
SELECT w.name, w.host, w.pid,
       CASE WHEN w.stopped_at IS NOT NULL THEN 'stopped'
            WHEN w.seen_at < clock_timestamp() - make_interval(secs => :gone) THEN 'gone'
            WHEN w.drain_requested_at IS NOT NULL THEN 'draining'
            WHEN w.queue IS NOT NULL THEN 'working' ELSE 'idle' END AS state,
       w.queues, w.queue, w.teacher, w.model, w.tokens_per_s, l.id AS lease_id,
       (SELECT count(*) FROM job j JOIN lease held ON held.id = j.lease_id
        WHERE held.revoked_at IS NULL AND held.worker = w.name) AS leased_jobs, l.renewed_at AS heartbeat_at,
       w.started_at, w.seen_at, w.stopped_at, w.drain_requested_at, w.unfit
FROM worker w
LEFT JOIN LATERAL (
    SELECT id, renewed_at FROM lease WHERE revoked_at IS NULL AND worker = w.name ORDER BY id DESC LIMIT 1) l ON true
WHERE w.seen_at > clock_timestamp() - make_interval(secs => :listed)
ORDER BY w.stopped_at IS NOT NULL, w.host, w.started_at, w.name
""")

_REQUEST_DRAIN = text("""
UPDATE worker SET drain_requested_at = coalesce(drain_requested_at, clock_timestamp()),
                  drain_until = clock_timestamp() + make_interval(secs => :grace)
WHERE stopped_at IS NULL AND seen_at > clock_timestamp() - make_interval(secs => :gone)
  AND (CAST(:name AS text) IS NULL OR name = :name) AND (CAST(:host AS text) IS NULL OR host = :host)
RETURNING name
""")


def started(conn: Connection, name: str, *, host: str, pid: int, queues: Sequence[str]) -> None:
    """Make the worker's row, or begin it anew."""
    conn.execute(_STARTED, {"name": name, "host": host, "pid": pid, "queues": list(queues)})


def seen(conn: Connection, name: str, status: WorkerStatus) -> tuple[bool, bool]:
    """Say what the worker does; returns whether it shall leave, and whether its time to do so is over."""
    values = {
        "name": name, "queues": list(status.queues), "queue": status.queue, "teacher": status.teacher,
        "tokens_per_s": status.tokens_per_s, "unfit_queues": [each.queue for each in status.unfit],
        "unfit_reasons": [each.reason for each in status.unfit],
        "unfit_waits": [each.again_in_s for each in status.unfit],
    }  # fmt: skip
    row = conn.execute(_SEEN, values).first()
    return (False, False) if row is None else (row.leave, row.at_once)


def stopped(conn: Connection, name: str) -> None:
    conn.execute(
        text("""
        UPDATE worker SET stopped_at = clock_timestamp(), queue = NULL, teacher = NULL, model = NULL,
                          tokens_per_s = NULL, unfit = '[]'
        WHERE name = :name
        """),
        {"name": name},
    )


def workers(conn: Connection) -> list[Worker]:
    """All that were seen within a day, those that stopped last."""
    rows = conn.execute(_WORKERS, {"gone": GONE_AFTER_S, "listed": LISTED_FOR_S})
    return [Worker(**{**row._mapping, "state": WorkerState(row.state)}) for row in rows]


def unserved(rows: Sequence[Worker]) -> dict[str, list[str]]:
    """Queue → why each worker that listens to it cannot serve it; the queues that a fit one serves are left out."""
    there = [row for row in rows if row.is_there]
    reasons: dict[str, list[str]] = {}
    for row in there:
        for each in row.unfit:
            reasons.setdefault(each["queue"], []).append(f"{row.name}: {each['reason']}")
    served = {queue for row in there for queue in {*row.queues} - {each["queue"] for each in row.unfit}}
    return {queue: why for queue, why in sorted(reasons.items()) if queue not in served}


def request_drain(
    conn: Connection, *, name: str | None = None, host: str | None = None, grace_s: float = DRAIN_GRACE_S
) -> list[str]:
    """Ask workers to finish what they hold and leave; what takes longer than `grace_s` they hand back.

    Returns their names. Raises NotFound where none of that name or on that host is there.
    """
    values = {"name": name, "host": host, "grace": grace_s, "gone": GONE_AFTER_S}
    names = sorted(conn.execute(_REQUEST_DRAIN, values).scalars())
    if not names:
        where = f"named {name!r}" if name is not None else f"on the host {host!r}"
        raise NotFound(f"No worker {where} is running. `persyn workers` lists those that are.")
    return names


def still_there(conn: Connection, names: Sequence[str]) -> list[str]:
    """Those of the named workers that have not left."""
    return [w.name for w in workers(conn) if w.name in names and w.state not in (WorkerState.STOPPED, WorkerState.GONE)]
