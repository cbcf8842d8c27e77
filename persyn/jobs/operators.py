"""The operators' moves on jobs: list them, look at one, retry the dead ones, cancel."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, TextClause

from persyn.errors import NotFound
from persyn.jobs import protocol, statements
from persyn.states import JobState

_AT_ONCE = 5000


class Filter(NamedTuple):
    """A choice of jobs; a field that is None does not matter."""

    run_id: int | None = None
    state: JobState | None = None
    queue: str | None = None
    error_code: str | None = None
    ids: Sequence[int] | None = None


class JobRow(NamedTuple):
    id: int
    run: str
    kind: str
    queue: str
    state: str
    attempt: int
    lost_count: int
    not_before: datetime
    error_code: str | None
    prompt: str | None  # its id in the user's file, or its number; of a range the first and the last number
    finished_at: datetime | None


class HistoryEvent(NamedTuple):
    """One event of a job, and whose lease it was under."""

    at: datetime
    event: str
    attempt: int
    lease_id: int | None
    worker: str | None
    host: str | None
    error_code: str | None
    detail: str | None


class JobHistory(NamedTuple):
    """A job with all that happened to it."""

    job: JobRow
    teacher: str | None
    scorer: str | None
    lease_id: int | None
    created_at: datetime
    sample_index: int  # of the answer that it is about
    events: list[HistoryEvent]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.job._asdict(), "teacher": self.teacher, "scorer": self.scorer, "lease_id": self.lease_id,
            "created_at": self.created_at, "sample_index": self.sample_index,
            "events": [event._asdict() for event in self.events],
        }  # fmt: skip


def _filtered(conn: Connection, statement: TextClause, wanted: Filter, **more: int) -> list[Any]:
    conn.execute(statements.PLAN_FOR_VALUES)
    values = wanted._asdict() | {"ids": None if wanted.ids is None else list(wanted.ids)}
    return list(conn.execute(statement, values | more))


def list_jobs(conn: Connection, wanted: Filter, limit: int) -> list[JobRow]:
    """The first `limit` jobs that are meant, in the order of their ids."""
    return [JobRow(*row) for row in _filtered(conn, statements.LIST_JOBS, wanted, limit=limit)]


def show(conn: Connection, job_id: int) -> JobHistory:
    """Raises NotFound."""
    rows = list_jobs(conn, Filter(ids=[job_id]), 1)
    if not rows:
        raise NotFound(f"There is no job {job_id}. `persyn jobs list` lists those that there are.")
    events = [HistoryEvent(*row) for row in conn.execute(statements.JOB_EVENTS, {"id": job_id})]
    row = conn.execute(statements.SHOW_JOB, {"id": job_id}).one()
    return JobHistory(rows[0], row.teacher, row.scorer, row.lease_id, row.created_at, row.sample_index, events)


def count(conn: Connection, wanted: Filter) -> dict[JobState, int]:
    """The number of chosen jobs by state."""
    return {JobState(row.state): row.jobs for row in _filtered(conn, statements.COUNT_JOBS, wanted)}


def retry(engine: Engine, wanted: Filter) -> int:
    """Give the dead ones among those that are meant a fresh start; returns how many."""
    return _each(engine, wanted._replace(state=JobState.DEAD), protocol.revive)


def cancel(engine: Engine, wanted: Filter) -> int:
    """Take back the ready and the dead ones among those that are meant; returns how many.

    A leased one is its worker's: it finishes, or comes back as ready, and can be cancelled then.
    """
    states = [JobState.READY, JobState.DEAD] if wanted.state is None else [wanted.state]
    return sum(_each(engine, wanted._replace(state=state), protocol.cancel) for state in states)


def restore(engine: Engine, run_id: int) -> int:
    """Give a run's cancelled jobs a fresh start; returns how many."""
    return _each(engine, Filter(run_id=run_id, state=JobState.CANCELLED), protocol.revive)


def take_back(conn: Connection, run_id: int) -> int:
    """Cancel some thousand of a run's ready jobs in this transaction; returns how many."""
    wanted = Filter(run_id=run_id, state=JobState.READY)
    rows = _filtered(conn, statements.JOB_IDS, wanted, after=0, limit=_AT_ONCE)
    return protocol.cancel(conn, [row.id for row in rows])


def _each(engine: Engine, wanted: Filter, act: Callable[[Connection, Sequence[int]], int]) -> int:
    """In transactions of some thousand, so that no worker waits long for a row and a break loses little."""
    changed = 0
    for ids in _batches(engine, wanted):
        with engine.begin() as conn:
            changed += act(conn, ids)
    return changed


def _batches(engine: Engine, wanted: Filter) -> Iterator[list[int]]:
    after = 0
    while True:
        with engine.connect() as conn:
            ids = [row.id for row in _filtered(conn, statements.JOB_IDS, wanted, after=after, limit=_AT_ONCE)]
        if not ids:
            return
        yield ids
        after = ids[-1]
