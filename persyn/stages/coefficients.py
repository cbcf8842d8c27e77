"""The router's coefficients that wait for a decision about the whole set: computed by ranges, and read at once.

Texts and neighbours stay in the database. The decision and the removal of what it was made from are one transaction.
"""

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn import jobs
from persyn.policies.per_prompt import Choice
from persyn.stages import ranges
from persyn.stages.ranges import Undecided
from persyn.stages.run_router import RouterOutput, RunRouter
from persyn.stages.train import StoredRouter
from persyn.stages.work import Work

log = logging.getLogger(__name__)

AT_ONCE = 8192  # rows read, or decided, by one statement

_KEEP = text("""
INSERT INTO routing_coefficients (run_id, prompt_id, training_job_id, coefficients, neighbour_ids, lease_id)
VALUES (:run_id, :prompt_id, :training_job_id, :coefficients, :neighbour_ids, :lease_id)
ON CONFLICT (run_id, prompt_id) DO UPDATE
SET training_job_id = EXCLUDED.training_job_id, coefficients = EXCLUDED.coefficients,
    neighbour_ids = EXCLUDED.neighbour_ids, lease_id = EXCLUDED.lease_id, created_at = clock_timestamp()
""")
_READ = text("""
SELECT k.prompt_id, p.sha256, k.coefficients
FROM routing_coefficients k
JOIN run r ON r.id = k.run_id
JOIN prompt p ON p.id = k.prompt_id
WHERE k.run_id = :run_id AND k.training_job_id = :training_job_id AND k.prompt_id > :after
  AND NOT EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id)
ORDER BY k.prompt_id LIMIT :limit
""")
_DECIDE = text("""
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, coefficients, margin,
                              neighbour_ids, samples, lease_id)
SELECT k.run_id, k.prompt_id, :policy, 'budget', c.teacher_id, :router_id, k.coefficients, nullif(c.margin, 'NaN'),
       k.neighbour_ids, c.samples, :lease_id
FROM unnest(CAST(:prompt_ids AS bigint[]), CAST(:teacher_ids AS bigint[]), CAST(:margins AS double precision[]),
            CAST(:samples AS int[])) AS c (prompt_id, teacher_id, margin, samples)
JOIN routing_coefficients k ON k.run_id = :run_id AND k.prompt_id = c.prompt_id
ON CONFLICT (run_id, policy, prompt_id, attempt) DO NOTHING
""")
_FORGET = text("DELETE FROM routing_coefficients WHERE run_id = :run_id")


class Coefficients(NamedTuple):
    """Those of P prompts without a decision, M teachers in coefficient order."""

    prompt_ids: NDArray[np.int64]  # (P,)
    sha256: NDArray[np.bytes_]  # (P,) the prompts' stable names
    values: NDArray[np.float64]  # (P, M)


def compute(work: Work, stored: StoredRouter) -> None:
    """Ask the router about the prompts of the job's range that lack its coefficients. Raises LeaseLost, ModelError."""
    router = None
    for batch in ranges.undecided(work, stored.job_id):
        router = router or RunRouter(work, stored)
        output = router.ask(batch)
        with work.engine.begin() as conn:
            store(conn, work.lease.id, work.run.id, stored.job_id, batch, output)
        log.info("action=ask_router prompts=%d", len(batch))


def store(
    conn: Connection, lease_id: int, run_id: int, training_job_id: int, batch: list[Undecided], output: RouterOutput
) -> None:
    """Keep a batch under a lease that still holds, in place of another training's. Raises LeaseLost."""
    jobs.hold(conn, lease_id)
    values = {"run_id": run_id, "training_job_id": training_job_id, "lease_id": lease_id}
    rows = [
        values | {"prompt_id": prompt.prompt_id, "coefficients": coefficients.tolist(), "neighbour_ids": near}
        for prompt, coefficients, near in zip(batch, output.coefficients, output.neighbour_ids, strict=True)
    ]
    conn.execute(_KEEP, rows)


def read(conn: Connection, run_id: int, training_job_id: int, teachers: int) -> Coefficients:
    """Those of one training of the router, for all prompts of the run that have no decision."""
    parts = [Coefficients(np.empty(0, np.int64), np.empty(0, "S64"), np.empty((0, teachers)))]
    values = {"run_id": run_id, "training_job_id": training_job_id, "after": 0, "limit": AT_ONCE}
    while rows := conn.execute(_READ, values).all():
        values["after"] = rows[-1].prompt_id
        ids, names, coefficients = zip(*rows, strict=True)
        parts.append(Coefficients(np.array(ids), np.array(names, "S64"), np.array(coefficients)))
    return Coefficients(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def decide(conn: Connection, work: Work, router_id: int, found: Coefficients, choice: Choice) -> None:
    """The decisions of the job and its end, in one transaction of the caller's; the coefficients go with it.

    Nothing stays where the job is another's by now. Raises LeaseLost.
    """
    run = work.run
    values = {
        "run_id": run.id, "policy": run.config.policy, "router_id": router_id, "lease_id": work.lease.id,
    }  # fmt: skip
    for start in range(0, len(found.prompt_ids), AT_ONCE):
        work.lease.beat()
        part = slice(start, start + AT_ONCE)
        places = choice.teacher_index[part].tolist()
        conn.execute(_DECIDE, values | {
            "prompt_ids": found.prompt_ids[part].tolist(),
            "teacher_ids": [run.teacher_ids[place] for place in places],
            "margins": choice.margin[part].tolist(),
            "samples": [run.config.teachers[place].samples for place in places],
        })  # fmt: skip
    conn.execute(_FORGET, {"run_id": run.id})
    if not jobs.complete(conn, work.lease.id, [work.claim.id]):
        conn.rollback()
