"""The prompts of a run that have no decision yet: cut into ranges, one `route` job each, and read batch by batch.

Any number of workers claim the ranges. A job that names no range is about the whole set.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.jobs.wake_ups import ROUTER
from persyn.stages.work import Work
from persyn.states import Stage

PROMPTS = 2048  # of a range: a minute of routing on a CPU, so that workers share even a small set and a loss is cheap
BATCH = 512  # read and stored at once
_BEYOND = 2**63 - 1

_UNDECIDED = """
FROM prompt p
JOIN run r ON r.prompt_set_id = p.prompt_set_id
WHERE r.id = :run_id
  AND NOT EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id)
  AND NOT (r.config ->> 'calibration_answers' = 'exclude' AND EXISTS (
      SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = p.id))
  AND NOT EXISTS (
      SELECT FROM routing_coefficients k
      WHERE k.run_id = r.id AND k.prompt_id = p.id AND k.training_job_id = CAST(:without AS bigint))
"""
_RANGES = f"""
SELECT CAST(:run_id AS bigint) AS run_id, CAST(:queue AS text) AS queue, CAST(:stage AS int) AS stage,
       min(id) AS first_prompt_id, max(id) AS last_prompt_id
FROM (SELECT p.id, (row_number() OVER (ORDER BY p.id) - 1) / CAST(:prompts AS bigint) AS part {_UNDECIDED}) AS numbered
GROUP BY part ORDER BY part
"""
_COUNT = text(f"SELECT count(*) {_UNDECIDED}")
_BATCH = text(f"""
SELECT p.id, p.sha256, p.messages {_UNDECIDED} AND p.id > :after AND p.id <= :last ORDER BY p.id LIMIT :limit
""")


class Undecided(NamedTuple):
    """A prompt without a teacher."""

    prompt_id: int
    sha256: str
    messages: list[dict[str, str]]


def enqueue(conn: Connection, run_id: int, without: int | None = None) -> int:
    """A job for every range of the run's undecided prompts, of PROMPTS each; returns how many are new.

    without: leave out those whose coefficients by the router of this training job are stored.
    """
    values = {"run_id": run_id, "queue": ROUTER, "stage": int(Stage.ROUTE), "prompts": PROMPTS, "without": without}
    return jobs.enqueue_ranges(conn, _RANGES, values)


def count(conn: Connection, run_id: int) -> int:
    """The number of the run's undecided prompts."""
    return int(conn.execute(_COUNT, {"run_id": run_id, "without": None}).scalar_one())


def undecided(work: Work, without: int | None = None) -> Iterator[list[Undecided]]:
    """The undecided prompts of the job's range in the order of their ids, until the worker is told to stop.

    without: as of `enqueue`.
    """
    after, last = (work.claim.first_prompt_id or 1) - 1, work.claim.last_prompt_id or _BEYOND
    while True:
        values = {"run_id": work.run.id, "without": without, "after": after, "last": last, "limit": BATCH}
        with work.engine.connect() as conn:
            rows = conn.execute(_BATCH, values).all()
        if not rows or work.stopping.is_set():
            return
        work.lease.beat()
        after = rows[-1].id
        yield [Undecided(*row) for row in rows]


def covers(claim: jobs.Claim, prompt_id: int) -> bool:
    """Whether a prompt lies in the job's range."""
    return claim.first_prompt_id is None or claim.first_prompt_id <= prompt_id <= (claim.last_prompt_id or _BEYOND)
