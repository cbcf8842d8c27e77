"""What an operator does with jobs: list them, look at one, retry the dead ones, cancel."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn.errors import NotFound
from persyn.jobs import protocol
from persyn.states import JobState

_AT_ONCE = 5000


class Filter(NamedTuple):
    """Which jobs are meant; what is None does not matter."""

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
    prompt: str | None  # its id in the user's file, or its number
    finished_at: datetime | None


class Happening(NamedTuple):
    """One event of a job, and whose lease it was under."""

    at: datetime
    event: str
    attempt: int
    lease_id: int | None
    worker: str | None
    host: str | None
    error_code: str | None
    detail: str | None


class Story(NamedTuple):
    """A job with all that happened to it."""

    job: JobRow
    teacher: str | None
    scorer: str | None
    lease_id: int | None
    created_at: datetime
    events: list[Happening]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.job._asdict(), "teacher": self.teacher, "scorer": self.scorer, "lease_id": self.lease_id,
            "created_at": self.created_at, "events": [event._asdict() for event in self.events],
        }  # fmt: skip


_MEANT = """
    (CAST(:run_id AS bigint) IS NULL OR j.run_id = :run_id) AND (CAST(:state AS text) IS NULL OR j.state = :state)
    AND (CAST(:queue AS text) IS NULL OR j.queue = :queue)
    AND (CAST(:error_code AS text) IS NULL OR j.error_code = :error_code)
    AND (CAST(:ids AS bigint[]) IS NULL OR j.id = ANY(:ids))
"""
# The dead are few and have an index of their own, which Postgres takes only where it reads the word itself.
_DEAD = " AND j.state = 'dead'"
_ROWS = """
SELECT j.id, r.name AS run, j.kind, j.queue, j.state, j.attempt, j.lost_count, j.not_before, j.error_code,
       coalesce(p.external_id, p.id::text) AS prompt, j.finished_at
FROM (SELECT j.* FROM job j WHERE {meant} ORDER BY j.id LIMIT :limit) AS j
JOIN run r ON r.id = j.run_id
LEFT JOIN generation g ON g.id = j.generation_id
LEFT JOIN prompt p ON p.id = coalesce(j.prompt_id, g.prompt_id)
ORDER BY j.id
"""
_IDS = "SELECT j.id, j.state FROM job j WHERE j.id > :after AND {meant} ORDER BY j.id LIMIT :limit"

_STORY = text("""
SELECT t.name AS teacher, s.kind || ' ' || s.method AS scorer, j.lease_id, j.created_at
FROM job j
LEFT JOIN generation g ON g.id = j.generation_id
LEFT JOIN teacher t ON t.id = coalesce(j.teacher_id, g.teacher_id)
LEFT JOIN scorer s ON s.id = j.scorer_id
WHERE j.id = :id
""")
_EVENTS = text("""
SELECT e.at, e.event, e.attempt, e.lease_id, l.worker, l.host, e.error_code, e.detail
FROM audit.job_history e LEFT JOIN lease l ON l.id = e.lease_id WHERE e.job_id = :id ORDER BY e.id
""")


def _statement(body: str, wanted: Filter) -> Any:
    return text(body.format(meant=_MEANT + (_DEAD if wanted.state is JobState.DEAD else "")))


def _values(wanted: Filter) -> dict[str, Any]:
    return wanted._asdict() | {"ids": None if wanted.ids is None else list(wanted.ids)}


def list_jobs(conn: Connection, wanted: Filter, limit: int) -> list[JobRow]:
    """The first `limit` jobs that are meant, in the order of their ids."""
    rows = conn.execute(_statement(_ROWS, wanted), _values(wanted) | {"limit": limit})
    return [JobRow(*row) for row in rows]


def show(conn: Connection, job_id: int) -> Story:
    """Raises NotFound."""
    found = list_jobs(conn, Filter(ids=[job_id]), 1)
    if not found:
        raise NotFound(f"There is no job {job_id}. `persyn jobs list` lists those that there are.")
    events = [Happening(*row) for row in conn.execute(_EVENTS, {"id": job_id})]
    row = conn.execute(_STORY, {"id": job_id}).one()
    return Story(found[0], row.teacher, row.scorer, row.lease_id, row.created_at, events)


def count(conn: Connection, wanted: Filter) -> dict[JobState, int]:
    """How many are meant, by state."""
    statement = "SELECT j.state, count(*) AS jobs FROM job j WHERE {meant} GROUP BY j.state"
    rows = conn.execute(_statement(statement, wanted), _values(wanted))
    return {JobState(row.state): row.jobs for row in rows}


def retry(engine: Engine, wanted: Filter) -> int:
    """Give the dead ones among those that are meant a fresh start; returns how many."""
    return _each(engine, wanted._replace(state=JobState.DEAD), protocol.revive)


def cancel(engine: Engine, wanted: Filter) -> int:
    """Take back the ready and the dead ones among those that are meant; returns how many.

    A leased one is its worker's: it finishes, or comes back as ready, and can be cancelled then.
    """
    states = [JobState.READY, JobState.DEAD] if wanted.state is None else [wanted.state]
    return sum(_each(engine, wanted._replace(state=state), protocol.cancel) for state in states)


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
            values = _values(wanted) | {"after": after, "limit": _AT_ONCE}
            ids = [row.id for row in conn.execute(_statement(_IDS, wanted), values)]
        if not ids:
            return
        yield ids
        after = ids[-1]
