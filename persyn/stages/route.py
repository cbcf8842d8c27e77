"""Stage 5 as rows: which prompts still have no teacher, and the decisions as they are stored."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.jobs.wake_ups import ROUTER
from persyn.policies.budgeted import Usage
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
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, coefficients, margin,
                              neighbour_ids, lease_id)
VALUES (:run_id, :prompt_id, :policy, :basis, :teacher_id, :router_id, :coefficients, :margin,
        :neighbour_ids, :lease_id)
ON CONFLICT (run_id, policy, prompt_id) DO NOTHING
""")

_USAGE = text("""
SELECT rt.position, avg(g.prompt_tokens)::float8 AS prompt_tokens, avg(g.completion_tokens)::float8 AS completion_tokens
FROM calibration_prompt c
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
WHERE c.run_id = :run_id GROUP BY rt.position
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
    coefficients: list[float] | list[float | None] | None = None  # the router's; the rewards where `measured`
    margin: float | None = None
    neighbour_ids: list[int] | None = None  # calibration prompts near to it in the router's embedding, nearest first


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
    write(conn, lease_id, run_id, policy, decisions)


def write(conn: Connection, lease_id: int, run_id: int, policy: str, decisions: Sequence[Decision]) -> None:
    """Keep decisions in a transaction whose caller makes sure of the lease before it commits."""
    rows = [decision._asdict() | {"run_id": run_id, "policy": policy, "lease_id": lease_id} for decision in decisions]
    if rows:
        conn.execute(_INSERT, rows)


def usage(conn: Connection, run_id: int, teachers: int) -> list[Usage]:
    """Each teacher's mean tokens over its answers to the calibration set, in coefficient order."""
    found = [Usage(None, None)] * teachers
    for row in conn.execute(_USAGE, {"run_id": run_id}):
        found[row.position] = Usage(row.prompt_tokens, row.completion_tokens)
    return found
