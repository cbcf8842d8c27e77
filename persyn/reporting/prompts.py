"""One prompt's decision, as a person asks for it. Reads `audit.decision` only."""

from typing import NamedTuple

from sqlalchemy import Connection, text


class Decision(NamedTuple):
    """Coefficients are the router's, or the measured rewards where the basis is `measured`; None where none counted."""

    policy: str
    basis: str
    teacher: str
    coefficient: float | None
    margin: float | None
    runner_up: str | None
    runner_up_coefficient: float | None
    neighbour_ids: list[int]  # the calibration prompts nearest to it that taught the router, nearest first


_DECISION = text("""
SELECT d.policy, d.basis, d.teacher, d.coefficient, d.margin, d.runner_up, d.runner_up_coefficient,
       coalesce(d.neighbour_ids, '{}') AS neighbour_ids
FROM audit.decision d JOIN run r ON r.id = d.run_id AND r.policy = d.policy
WHERE d.run_id = :run_id AND d.prompt_id = :prompt_id
""")


def decision(conn: Connection, run_id: int, prompt_id: int) -> Decision | None:
    """None where the run has not decided the prompt."""
    row = conn.execute(_DECISION, {"run_id": run_id, "prompt_id": prompt_id}).first()
    return None if row is None else Decision(*row)
