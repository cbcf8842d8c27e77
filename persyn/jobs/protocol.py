"""The job and lease protocol (docs/state_machine.md), and the only writer of `job.state`.

Computed at least once, stored exactly once: a worker that stores a result must still hold the lease that it computed
the result under. The check, the change of state, its event and the result share one transaction. No function here
commits. All times are the database's.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, TextClause, text
from sqlalchemy.exc import IntegrityError

from persyn import counters
from persyn.errors import LeaseLost
from persyn.jobs import statements
from persyn.jobs.cursor import ClaimCursor, Position
from persyn.states import JobState
from persyn.text import storable
from persyn.waits import LONGEST_S, bounded

LEASE_TTL_S, LEASE_DEADLINE_S = 90, 3600
HOLD_IDLE_S: float = 60
# From this many losses on a job runs alone, so that a prompt that kills the engine takes no neighbour with it. The
# statements and the partial indexes spell the number out.
ALONE_AFTER_LOSSES = 2
# A server that dies under a job that is alone there dies of it: that is one loss more than makes a job run alone.
POISON_LOSSES = ALONE_AFTER_LOSSES + 1
# A lease that ran out may be the job's doing, or a host's that was taken away three times in a night.
RAN_OUT_LOSSES = 6
MAX_ATTEMPTS, BACKOFF_CAP_S, DETAIL_LIMIT = 5, 300, 2000
# `waiting` counts so far; more would change nothing.
WAITING_AT_MOST = 1000
# The event's detail of a job whose result another run, or an import, had stored.
REUSED = "reused"
# A claim looks so often for jobs that need work; a queue with more that need none is looked at again soon.
REUSED_AT_ONCE = 50
# A job whose twin is being worked on is looked at again after this.
TWIN_OPEN, TWIN_WAIT_S = "another run's job asks for the same result", 5.0
# A stage's job that came too soon waits a hundred years, as one that is revived: open_stage.sql lets it be claimed.
EARLIER_OPEN, UNTIL_OPENED_S = "an earlier job of its run is open again", 100 * 365.25 * 86400
_FOLD_ABOVE_ROWS = 500
_REAPER_LOCK, _FOLD_LOCK = 7_326_119_002, 7_326_119_003


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
    stage: int = 0
    first_prompt_id: int | None = None  # the range of prompts that a job routes; none: the whole set
    last_prompt_id: int | None = None


class Group(NamedTuple):
    """The needs of the job that goes first, its run's router, its teacher or its scorer, and its stage."""

    run_id: int
    stage: int
    teacher_id: int | None
    scorer_id: int | None


class Without(NamedTuple):
    """The groups of a queue that a worker cannot serve now."""

    run_ids: Sequence[int] = ()
    teacher_ids: Sequence[int] = ()
    scorer_ids: Sequence[int] = ()


NOTHING = Without()


class Failure(NamedTuple):
    """A job's failure as its row keeps it. `retry_after_s` is a wait that the server asked for."""

    job_id: int
    code: str
    message: str
    permanent: bool
    retry_after_s: float | None = None


class Count(NamedTuple):
    """The number of jobs of a run's stage in one state."""

    run_id: int
    queue: str
    stage: int
    state: JobState
    jobs: int


def enqueue(conn: Connection, source: str, params: Mapping[str, Any], *, all_new: bool = False) -> int:
    """Make a ready job of every row of a SELECT, skipping those that exist already.

    `source` yields run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, generation_id, scorer_id.
    `all_new`: the caller expects that none exists, which takes two thirds of the time, and twice as long where one
    does after all. Returns how many are new.
    """
    if all_new:
        with suppress(IntegrityError), conn.begin_nested():
            statement = statements.from_source(statements.ENQUEUE_NEW, source)
            return int(conn.execute(statement, params).scalar_one())
    return int(conn.execute(statements.from_source(statements.ENQUEUE, source), params).scalar_one())


def enqueue_stage(conn: Connection, run_id: int, kind: str, queue: str, stage: int) -> int:
    """The one job of a stage that a run does as a whole; returns 1 if it is new."""
    values = {"run_id": run_id, "kind": kind, "queue": queue, "stage": stage}
    return int(conn.execute(statements.ENQUEUE, values).scalar_one())


def enqueue_ranges(conn: Connection, source: str, params: Mapping[str, Any]) -> int:
    """Make a ready `route` job of every row of a SELECT, skipping ranges that are open; returns how many are new.

    `source` yields run_id, queue, stage, first_prompt_id, last_prompt_id.
    """
    return int(conn.execute(statements.from_source(statements.ENQUEUE_RANGES, source), params).scalar_one())


def enqueue_one(conn: Connection, run_id: int, kind: str, queue: str, stage: int) -> int:
    """A job of which a run may have several, told apart by the row that names it; returns its id."""
    values = {"run_id": run_id, "kind": kind, "queue": queue, "stage": stage}
    return int(conn.execute(statements.ENQUEUE_ONE, values).scalar_one())


def open_stage(conn: Connection, run_id: int, kind: str) -> None:
    """Let a stage's jobs that were given a fresh start be claimed: all that they read is final now."""
    conn.execute(statements.OPEN_STAGE, {"run_id": run_id, "kind": kind})


def close_stage(conn: Connection, run_id: int, kind: str) -> bool:
    """Keep a stage's open jobs from being claimed until `open_stage`; False where a worker holds one of them."""
    return int(conn.execute(statements.CLOSE_STAGE, {"run_id": run_id, "kind": kind}).scalar_one()) == 0


def open_lease(
    conn: Connection, *, worker: str, host: str, queue: str,
    ttl_s: float = LEASE_TTL_S, deadline_s: float = LEASE_DEADLINE_S,
) -> int:  # fmt: skip
    """A new lease that runs out after `ttl_s` without a heartbeat, or `deadline_s` after its last claim; its id."""
    values = {"worker": worker, "host": host, "queue": queue, "ttl": ttl_s, "deadline": deadline_s}
    return int(conn.execute(statements.OPEN_LEASE, values).scalar_one())


def hold(conn: Connection, lease_id: int) -> None:
    """Keep the lease from being revoked until this transaction ends.

    A transaction that then idles for HOLD_IDLE_S is ended by Postgres. Raises LeaseLost where it was revoked already.
    """
    _hold(conn, lease_id, statements.HOLD)


def limit_idling(conn: Connection) -> None:
    """Let Postgres end this transaction once it idles for HOLD_IDLE_S: a process stopped in it gives up its locks."""
    conn.execute(statements.LIMIT_IDLING, _patience())


def _take_turn(conn: Connection, lock: int) -> bool:
    limit_idling(conn)
    return bool(conn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}).scalar_one())


def _patience() -> dict[str, str]:
    return {"patience_ms": f"{HOLD_IDLE_S * 1000:.0f}"}


def _hold(conn: Connection, lease_id: int, statement: TextClause) -> None:
    if conn.execute(statement, {"lease_id": lease_id, **_patience()}).first() is None:
        raise LeaseLost(f"Lease {lease_id} was revoked; its results are dropped and others do its jobs.")


def claim(
    conn: Connection, lease_id: int, queue: str, limit: int, *, idle: bool = True, cursor: ClaimCursor | None = None,
    teacher_id: int | None = None, scorer_ids: Sequence[int] | None = None, run_id: int | None = None,
    deadline_s: float = LEASE_DEADLINE_S,
) -> list[Claim]:  # fmt: skip
    """Take up to `limit` jobs that are due, those of earlier stages first; of one teacher, run or some scorers only.

    Within a stage the older run goes first, then what became due first; with a `cursor`, which is of one lane and
    takes no `run_id`, the order holds within LOOK_AGAIN_S. A job that was lost too often is taken alone: only by a
    caller with nothing in flight (`idle`), when nothing else is due; nothing joins it until it is finished. What is
    stored already is completed here; what another run's job is about waits for it. Claiming is progress, so it moves
    the lease's deadline. The commit does not wait for the disk (hold_to_claim.sql says why). Raises LeaseLost.
    """
    _hold(conn, lease_id, statements.HOLD_TO_CLAIM)
    values = {
        "lease_id": lease_id, "queue": queue, "teacher_id": teacher_id, "only_run_id": run_id,
        "scorer_ids": None if scorer_ids is None else list(scorer_ids), "deadline": deadline_s,
    }  # fmt: skip
    cursor, claims = cursor or ClaimCursor(), list[Claim]()
    for _ in range(REUSED_AT_ONCE):
        taken = _claims(_take(conn, values | {"limit": limit - len(claims)}, cursor))
        wanted = _wanted(conn, lease_id, taken)
        claims += wanted
        if len(wanted) == len(taken):
            break
    if not claims and idle:
        claims = _wanted(conn, lease_id, _claims(conn.execute(statements.CLAIM_SUSPECT, values).all()))
    return claims


def _claims(rows: Sequence[Row[Any]]) -> list[Claim]:
    return [Claim(*row[: len(Claim._fields)]) for row in rows]


def _wanted(conn: Connection, lease_id: int, claims: list[Claim]) -> list[Claim]:
    """Those of the claimed jobs that are to be computed now. Two claims of the same moment may both want a result."""
    ids, whole = ([c.id for c in claims if (c.kind in ("generate", "score")) is single] for single in (True, False))
    settled = {row.id: row.stored for row in conn.execute(statements.TWINS, {"job_ids": ids})} if ids else {}
    if stored := [job_id for job_id, is_stored in settled.items() if is_stored]:
        conn.execute(statements.COMPLETE, {"lease_id": lease_id, "job_ids": stored, "detail": REUSED})
    asked = [job_id for job_id, is_stored in settled.items() if not is_stored]
    early = list(conn.execute(statements.TOO_SOON, {"job_ids": whole}).scalars()) if whole else []
    for job_ids, detail, wait in ((asked, TWIN_OPEN, TWIN_WAIT_S), (early, EARLIER_OPEN, UNTIL_OPENED_S)):
        if job_ids:
            values = {"lease_id": lease_id, "job_ids": job_ids, "detail": detail, "wait": wait}
            conn.execute(statements.POSTPONE, values)
    return [claim for claim in claims if claim.id not in settled and claim.id not in early]


def _take(conn: Connection, values: dict[str, Any], cursor: ClaimCursor) -> Sequence[Row[Any]]:
    limit, position = values["limit"], cursor.position()
    rows = [] if position is None else list(conn.execute(statements.CLAIM_ON, values | position._asdict()).all())
    if looked := len(rows) < limit:
        rows += conn.execute(statements.CLAIM, values | {"limit": limit - len(rows)}).all()
    last = rows[-1] if rows and len(rows) == limit else None
    end = None if last is None else Position(last.run_id, last.stage, last.not_before, last.id)
    cursor.note(end, looked=looked)
    return rows


def heartbeat(conn: Connection, lease_id: int, ttl_s: float = LEASE_TTL_S) -> bool:
    """Renew the lease; False means that it is gone and everything under it must be dropped."""
    return conn.execute(statements.HEARTBEAT, {"lease_id": lease_id, "ttl": ttl_s}).rowcount == 1


def complete(conn: Connection, lease_id: int, job_ids: Sequence[int]) -> frozenset[int]:
    """Mark jobs done and return those that were still this lease's: only their results may be stored.

    Raises LeaseLost where the lease was revoked.
    """
    hold(conn, lease_id)
    done = conn.execute(statements.COMPLETE, {"lease_id": lease_id, "job_ids": list(job_ids), "detail": None})
    return frozenset(done.scalars().all())


def fail(conn: Connection, lease_id: int, failures: Sequence[Failure]) -> int:
    """Send jobs back to wait for a retry, or end them where that is pointless. Raises LeaseLost."""
    hold(conn, lease_id)
    values = {
        "lease_id": lease_id,
        "job_ids": [failure.job_id for failure in failures],
        "codes": [failure.code for failure in failures],
        "messages": [storable(failure.message, DETAIL_LIMIT) for failure in failures],
        "permanent": [failure.permanent for failure in failures],
        # psycopg takes no list that mixes int and float
        "waits": [None if failure.retry_after_s is None else bounded(failure.retry_after_s) for failure in failures],
        "max_attempts": MAX_ATTEMPTS, "cap": BACKOFF_CAP_S, "wait_cap": LONGEST_S,
    }  # fmt: skip
    rows = conn.execute(statements.RETRY, values).all()
    for row in rows:
        (counters.DIED if row.state == JobState.DEAD else counters.RETRIED).labels(row.code).inc(row.jobs)
    return sum(row.jobs for row in rows)


def report_lost(conn: Connection, lease_id: int, job_ids: Sequence[int], detail: str) -> int:
    """Give back jobs whose server died under them; each counts a loss, and one that it died under alone is poison.

    Raises LeaseLost.
    """
    hold(conn, lease_id)
    return _lose(conn, [lease_id], list(job_ids), storable(detail, DETAIL_LIMIT), code="poison", losses=POISON_LOSSES)


def give_up(conn: Connection, lease_id: int, code: str, message: str) -> int:
    """Fail all that the lease holds, as an error that nobody foresaw ended their work. Raises LeaseLost."""
    hold(conn, lease_id)
    held = conn.execute(statements.HELD, {"lease_id": lease_id}).scalars()
    return fail(conn, lease_id, [Failure(job_id, code, message, permanent=False) for job_id in held])


def close(conn: Connection, lease_id: int, detail: str) -> int:
    """Hand back what is unfinished, no attempt spent, and end the lease. Returns how many jobs went back."""
    locked = conn.execute(
        text("SELECT id FROM lease WHERE id = :lease_id AND revoked_at IS NULL FOR UPDATE"), {"lease_id": lease_id}
    ).first()
    if locked is None:
        return 0
    released = int(
        conn.execute(statements.RELEASE, {"lease_id": lease_id, "detail": storable(detail, DETAIL_LIMIT)}).scalar_one()
    )
    conn.execute(statements.REVOKE, {"lease_ids": [lease_id], "reason": "released"})
    return released


def reap(conn: Connection) -> int:
    """Revoke leases that ran out or passed their deadline, then release their jobs; returns how many jobs.

    Each counts a loss. The sixth ends a job as `lease_ran_out`, since nothing shows whether the job was to blame.
    One reaper works at a time; the others find nothing to do. A lease that is held is left to the next round.
    """
    overdue = [row.id for row in conn.execute(statements.OVERDUE)] if _take_turn(conn, _REAPER_LOCK) else []
    if not overdue:
        return 0
    conn.execute(statements.REVOKE, {"lease_ids": overdue, "reason": None})
    detail = "the lease ran out: its worker died, hung or lost the database"
    return _lose(conn, overdue, None, detail, code="lease_ran_out", losses=RAN_OUT_LOSSES)


def _lose(
    conn: Connection, lease_ids: list[int], job_ids: list[int] | None, detail: str, *, code: str, losses: int
) -> int:
    values = {"lease_ids": lease_ids, "job_ids": job_ids, "detail": detail, "code": code, "losses": losses}
    rows = conn.execute(statements.LOSE, values).all()
    for row in rows:
        (counters.DIED.labels(code) if row.state == JobState.DEAD else counters.LOST).inc(row.jobs)
    return sum(row.jobs for row in rows)


def waiting(conn: Connection) -> dict[str, int]:
    """Queue → how many of its jobs are due, paused ones left out.

    Exact up to WAITING_AT_MOST of a run's stage; of more, all that are ready count, those that wait for a retry too.
    """
    conn.execute(statements.BY_INDEX)
    rows = conn.execute(statements.WAITING, {"at_most": WAITING_AT_MOST})
    return {row.queue: row.jobs for row in rows}


def next_group(conn: Connection, queue: str, *, without: Without = NOTHING) -> Group | None:
    """The group of the job that a claim would take first, some left out; None when nothing else is due."""
    conn.execute(statements.BY_INDEX)
    values = {f"without_{name}": list(ids) for name, ids in without._asdict().items()}
    row = conn.execute(statements.NEXT_GROUP, {"queue": queue, **values}).first()
    return None if row is None else Group(*row)


def counts(conn: Connection, run_id: int | None = None) -> list[Count]:
    """The numbers of jobs by run, queue, stage and state, of one run or of all. As fast on any number of jobs."""
    return [Count(*row) for row in conn.execute(statements.COUNTS, {"run_id": run_id})]


def fold_counts(conn: Connection) -> None:
    """Replace the counts' many small rows by their sums, once there are enough; one caller works at a time."""
    if _take_turn(conn, _FOLD_LOCK):
        conn.execute(statements.FOLD, {"at_most": _FOLD_ABOVE_ROWS})


def cancel(conn: Connection, job_ids: Sequence[int]) -> int:
    """Take back jobs that are ready or dead; a leased one finishes first."""
    return int(conn.execute(statements.CANCEL, {"ids": list(job_ids)}).scalar_one())


def revive(conn: Connection, job_ids: Sequence[int]) -> int:
    """Give dead and cancelled jobs a fresh start, attempts and losses forgotten; a stage's waits for `open_stage`."""
    return int(conn.execute(statements.REVIVE, {"ids": list(job_ids)}).scalar_one())


def remove(conn: Connection, job_ids: Sequence[int]) -> int:
    """Remove jobs whose results were taken back, so that a stage makes them anew. A leased one's lease loses it."""
    return int(conn.execute(statements.REMOVE, {"ids": list(job_ids)}).scalar_one())
