"""Reads how much waits in each queue and since when, from which a worker chooses its next queue."""

from typing import NamedTuple

from sqlalchemy import Connection

from persyn.jobs import protocol, statements


class Backlog(NamedTuple):
    """`jobs` as `protocol.waiting` counts them; `oldest_s`: seconds for which the oldest of them has been due."""

    queue: str
    jobs: int
    oldest_s: float


def read(conn: Connection) -> list[Backlog]:
    """The queues with due jobs, paused ones left out. A queue with nothing but suspects counts as young."""
    oldest = {row.queue: float(row.oldest_s) for row in conn.execute(statements.OLDEST)}
    return [Backlog(queue, due, max(0.0, oldest.get(queue, 0.0))) for queue, due in protocol.waiting(conn).items()]
