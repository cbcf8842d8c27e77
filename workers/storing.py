"""Stores a batch of results, and where the database refuses it for what it holds, each row by itself.

So one answer that no column can hold costs its own job an attempt, and its neighbours nothing.
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

Result = TypeVar("Result")
Store = Callable[["Connection", int, Sequence[Result]], int]


def store_each(
    conn: "Connection", lease_id: int, results: Sequence[Result], store: Store[Result], job_of: Callable[[Result], int]
) -> list[jobs.Failure]:
    """Store the results; returns a failure for each that cannot be. Raises LeaseLost, and where no row is to blame.

    What was tried in vain leaves nothing behind: each try is a savepoint of its own.
    """
    if not results:
        return []
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
    middle = len(results) // 2
    halves = results[:middle], results[middle:]
    return [failure for half in halves for failure in store_each(conn, lease_id, half, store, job_of)]
