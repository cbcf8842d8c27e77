"""Stores a batch of results, and where the database refuses it for what it holds, each row by itself.

So one answer that no column can hold costs its own job an attempt, and its neighbours nothing. No statement carries
more than STATEMENT_BYTES, unless one result alone is larger.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from persyn import jobs, logs
from persyn.errors import LeaseLost
from persyn.workers import blame

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

STATEMENT_BYTES = 8_000_000

Result = TypeVar("Result")
Store = Callable[["Connection", int, Sequence[Result]], int]


def store_each(
    conn: "Connection", lease_id: int, results: Sequence[Result], store: Store[Result],
    job_of: Callable[[Result], int], size_of: Callable[[Result], int] = lambda result: 0,
) -> list[jobs.Failure]:  # fmt: skip
    """Store the results; returns a failure for each that cannot be. Raises LeaseLost, and where no row is to blame.

    What was tried in vain leaves nothing behind: each try is a savepoint of its own. `size_of` a result is in bytes.
    """
    if not results:
        return []
    if len(results) > 1 and sum(map(size_of, results)) > STATEMENT_BYTES:
        return _store_halves(conn, lease_id, results, store, job_of, size_of)
    try:
        with conn.begin_nested():
            store(conn, lease_id, results)
        return []
    except LeaseLost:
        raise
    except Exception as exc:
        if blame.blame(exc) is not blame.Fault.UNFORESEEN:
            raise
        if len(results) == 1:
            with logs.about(job=job_of(results[0])):
                log.warning("action=not_storable %s", blame.explained(exc))
            return [jobs.Failure(job_of(results[0]), "not_storable", blame.explained(exc), permanent=False)]
    return _store_halves(conn, lease_id, results, store, job_of, size_of)


def _store_halves(
    conn: "Connection", lease_id: int, results: Sequence[Result], store: Store[Result],
    job_of: Callable[[Result], int], size_of: Callable[[Result], int],
) -> list[jobs.Failure]:  # fmt: skip
    middle = len(results) // 2
    halves = results[:middle], results[middle:]
    return [failure for half in halves for failure in store_each(conn, lease_id, half, store, job_of, size_of)]
