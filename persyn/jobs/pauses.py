"""Holds work back: a paused queue or run gets no new claims and no wake-ups until it is resumed.

Leased jobs finish. A pause with an end lifts itself, so that no person has to be there to clear it away. An operator
pauses a whole queue; a worker holds the teacher version or the scorer back whose endpoint is at fault, and the rest of
the queue goes on. They stand side by side: what a worker meets never undoes what a person decided. No function here
commits. All times are the database's.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn.errors import NotFound
from persyn.waits import bounded


class PauseKind(StrEnum):
    OPERATOR = "operator"
    WORKER = "worker"  # its endpoint is not to be asked for now


class Pause(NamedTuple):
    """A queue or a run that is held back, by whom and why: one of the two is set. `until_at` None means for good."""

    queue: str | None
    run_id: int | None
    run: str | None
    reason: str
    paused_by: str
    paused_at: datetime
    until_at: datetime | None
    kind: PauseKind = PauseKind.OPERATOR
    scorer: str | None = None  # the one whose endpoint is at fault; others of the queue go on
    is_whole: bool = True  # it holds all of its queue


class Part(NamedTuple):
    """The part of a queue that asks one endpoint: a teacher version's jobs, or a scorer's."""

    queue: str
    teacher_id: int = 0
    scorer_id: int = 0


# Of two workers' pauses the longer one counts: each met something that is not over before.
_PAUSE_QUEUE = text("""
INSERT INTO queue_pause AS held (queue, teacher_id, scorer_id, kind, reason, paused_by, until_at)
VALUES (:queue, :teacher_id, :scorer_id, :kind, :reason, :by,
        clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision)))
ON CONFLICT (queue, kind, teacher_id, scorer_id) DO UPDATE
SET reason = EXCLUDED.reason, paused_by = EXCLUDED.paused_by, paused_at = clock_timestamp(),
    until_at = EXCLUDED.until_at
WHERE EXCLUDED.kind = 'operator' OR held.until_at < EXCLUDED.until_at
""")

_PAUSED = text("""
SELECT p.queue, CAST(NULL AS bigint) AS run_id, CAST(NULL AS text) AS run, p.reason, p.paused_by, p.paused_at,
       p.until_at, p.kind, concat_ws(' ', s.method, s.config ->> 'model') AS scorer,
       p.teacher_id + p.scorer_id = 0 AS is_whole
FROM queue_pause p LEFT JOIN scorer s ON s.id = p.scorer_id
WHERE p.until_at IS NULL OR p.until_at > clock_timestamp()
UNION ALL
SELECT NULL, id, name, coalesce(pause_reason, ''), coalesce(paused_by, ''), paused_at, NULL, 'operator', NULL, true
FROM run WHERE paused_at IS NOT NULL AND cancelled_at IS NULL
ORDER BY queue, run_id, kind
""")


def pause_queue(conn: Connection, queue: str, *, reason: str, by: str, seconds: float | None = None) -> None:
    """Hold a queue back as an operator, for `seconds` or for good; pausing again replaces reason and end."""
    values = {"kind": PauseKind.OPERATOR, "reason": reason, "by": by, "seconds": seconds}
    conn.execute(_PAUSE_QUEUE, Part(queue)._asdict() | values)


def hold_part(conn: Connection, part: Part, *, reason: str, by: str, seconds: float) -> None:
    """Hold a part of a queue back as a worker, an hour at most; an operator's pause stays as it is."""
    values = {"kind": PauseKind.WORKER, "reason": reason, "by": by, "seconds": bounded(seconds)}
    conn.execute(_PAUSE_QUEUE, part._asdict() | values)


def resume_queue(conn: Connection, queue: str) -> bool:
    """Let a queue go on, whoever paused it; False where nobody did. Workers forget the waits that led to theirs."""
    return conn.execute(text("DELETE FROM queue_pause WHERE queue = :queue"), {"queue": queue}).rowcount > 0


def pause_run(conn: Connection, run_id: int, *, reason: str = "", by: str = "") -> None:
    """Hold a run's jobs back in every queue; others' go on. Raises NotFound."""
    changed = conn.execute(
        text("UPDATE run SET paused_at = clock_timestamp(), pause_reason = :reason, paused_by = :by WHERE id = :id"),
        {"id": run_id, "reason": reason, "by": by},
    )
    if changed.rowcount == 0:
        raise NotFound(f"There is no run {run_id}. `persyn runs` lists those that there are.")


def resume_run(conn: Connection, run_id: int) -> bool:
    """Let a run go on; False where it was not paused."""
    changed = conn.execute(
        text("""
        UPDATE run SET paused_at = NULL, pause_reason = NULL, paused_by = NULL
        WHERE id = :id AND paused_at IS NOT NULL
        """),
        {"id": run_id},
    )
    return changed.rowcount == 1


def any_paused(conn: Connection, run_ids: Sequence[int]) -> bool:
    """Whether one of the runs is held back; a cancelled one is, too."""
    statement = text("SELECT EXISTS (SELECT FROM run WHERE id = ANY(:ids) AND paused_at IS NOT NULL)")
    return bool(conn.execute(statement, {"ids": list(run_ids)}).scalar_one())


def paused(conn: Connection) -> list[Pause]:
    """All that is held back now, queues first. A cancelled run has ended, so it is not among them."""
    return [
        Pause(**{**row._mapping, "kind": PauseKind(row.kind), "scorer": row.scorer or None})
        for row in conn.execute(_PAUSED)
    ]
