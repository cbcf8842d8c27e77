"""Stage 5 as rows: which prompts still have no teacher, and the decisions as they are stored."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.queue import ROUTER
from persyn.states import Stage

_UNDECIDED = text("""
SELECT p.id, p.sha256, p.messages
FROM prompt p
JOIN run r ON r.prompt_set_id = p.prompt_set_id
WHERE r.id = :run_id AND p.id > :after
  AND NOT EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id)
  AND (CAST(:with_calibration AS boolean)
       OR NOT EXISTS (SELECT FROM calibration_prompt c WHERE c.run_id = r.id AND c.prompt_id = p.id))
ORDER BY p.id LIMIT :limit
""")

_INSERT = text("""
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, coefficients, margin, lease_id)
VALUES (:run_id, :prompt_id, :policy, :basis, :teacher_id, :router_id, :coefficients, :margin, :lease_id)
ON CONFLICT (run_id, policy, prompt_id) DO NOTHING
""")


class Undecided(NamedTuple):
    prompt_id: int
    sha256: str
    messages: list[dict[str, str]]


class Decision(NamedTuple):
    prompt_id: int
    teacher_id: int
    basis: str
    router_id: int | None = None
    coefficients: list[float] | None = None
    margin: float | None = None


def enqueue(conn: Connection, run_id: int) -> int:
    return jobs.enqueue_stage(conn, run_id, "route", ROUTER, Stage.ROUTE)


def undecided(engine: Engine, run_id: int, *, with_calibration: bool, batch: int) -> Iterator[list[Undecided]]:
    """The prompts without a decision, in batches; a run cut short goes on where it stopped."""
    after = 0
    while True:
        with engine.connect() as conn:
            rows = conn.execute(
                _UNDECIDED, {"run_id": run_id, "after": after, "with_calibration": with_calibration, "limit": batch}
            ).all()
        if not rows:
            return
        after = rows[-1].id
        yield [Undecided(*row) for row in rows]


def store(conn: Connection, lease_id: int, run_id: int, policy: str, decisions: Sequence[Decision]) -> None:
    """Keep a batch of decisions under a lease that still holds. Raises LeaseLost."""
    jobs.hold(conn, lease_id)
    rows = [decision._asdict() | {"run_id": run_id, "policy": policy, "lease_id": lease_id} for decision in decisions]
    if rows:
        conn.execute(_INSERT, rows)
