"""What waits in each queue, and since when: from this a worker chooses what to do next."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn.jobs import protocol, statements


class Backlog(NamedTuple):
    """`jobs` as `protocol.waiting` counts them; `oldest_s`: seconds for which the oldest of them has been due."""

    queue: str
    jobs: int
    oldest_s: float


_OLDEST = text(f"""
WITH RECURSIVE lane AS ({statements._LANES_OF_ALL}
)
SELECT lane.queue, extract(epoch FROM clock_timestamp() - min(head.not_before)) AS oldest_s
FROM lane JOIN run ON run.id = lane.run_id CROSS JOIN LATERAL (
    SELECT not_before FROM job
    WHERE queue = lane.queue AND run_id = lane.run_id AND priority = lane.priority
      AND {statements._READY} AND {statements._DUE}
    ORDER BY not_before, id LIMIT 1) AS head
WHERE run.paused_at IS NULL
GROUP BY lane.queue
""")


def read(conn: Connection) -> list[Backlog]:
    """The queues with due jobs, paused ones left out. A queue with nothing but suspects counts as young."""
    oldest = {row.queue: float(row.oldest_s) for row in conn.execute(_OLDEST)}
    return [Backlog(queue, due, max(0.0, oldest.get(queue, 0.0))) for queue, due in protocol.waiting(conn).items()]
