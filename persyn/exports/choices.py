"""Whose answer an export takes for each prompt: a policy's decisions, stored or computed from what was measured.

A policy without a router may be asked after the run too, because it decides from the calibration scores alone. Its rows
are those whose teacher has answered the prompt, for whichever reason.
"""

from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, text

from persyn import runs
from persyn.config import Policy, RunConfig, parse_run
from persyn.errors import ConfigError
from persyn.policies import per_prompt
from persyn.rewards import matrix

_STORED = """
SELECT d.prompt_id, d.teacher_id, d.basis, d.samples, d.attempt
FROM routing_decision d WHERE d.run_id = :run_id AND d.policy = :policy
"""
_COMPUTED = """
SELECT * FROM unnest(CAST(:prompt_ids AS bigint[]), CAST(:teacher_ids AS bigint[]), CAST(:bases AS text[]),
                     CAST(:samples AS int[]), CAST(:attempts AS int[]))
    AS computed (prompt_id, teacher_id, basis, samples, attempt)
"""
_ALL_MEASURED = """
SELECT c.prompt_id, rt.teacher_id, 'measured' AS basis, 1 AS samples, 1 AS attempt
FROM run r
JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
JOIN prompt p ON p.id = c.prompt_id AND p.prompt_set_id = r.prompt_set_id
JOIN run_teacher rt ON rt.run_id = r.id
WHERE r.id = :run_id
UNION ALL
SELECT d.prompt_id, d.teacher_id, d.basis, d.samples, d.attempt
FROM routing_decision d JOIN run r ON r.id = d.run_id AND r.policy = d.policy
WHERE d.run_id = :run_id AND (d.samples > 1 OR EXISTS (
    SELECT FROM routing_decision other
    WHERE other.run_id = d.run_id AND other.policy = d.policy AND other.prompt_id = d.prompt_id AND other.attempt = 2
)) AND NOT EXISTS (
    SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = d.prompt_id)
"""
_PROMPTS = text("SELECT id, sha256 FROM prompt WHERE prompt_set_id = :prompt_set_id ORDER BY position, id")


class Choices(NamedTuple):
    """A SELECT of prompt_id, teacher_id, basis, samples and attempt, and its parameters beside run_id."""

    sql: str
    parameters: dict[str, Any]

    def values(self, run_id: int) -> dict[str, Any]:
        return {"run_id": run_id} | self.parameters


def every_measured_answer() -> Choices:
    """Those that pairs are made of: all teachers on calibration prompts, and several answers elsewhere."""
    return Choices(_ALL_MEASURED, {})


def of_policy(conn: Connection, run: runs.Run, policy: Policy) -> Choices:
    """The policy's decisions. Raises ConfigError where there are none and only a run of its own can make them."""
    stored = Choices(_STORED, {"policy": policy})
    if policy == run.config.policy or conn.execute(text(f"{_STORED} LIMIT 1"), stored.values(run.id)).first():
        return stored
    if policy in ("persyn", "budgeted"):
        way = f"`persyn run {run.name} --policy persyn` makes them in a run beside it"
        if policy == "budgeted":
            way = "Start a run with policy: budgeted and its budget under another name"
        raise ConfigError(
            f"--policy {policy}: the run {run.name} has no decisions of it, and they need a router. {way}; the answers"
            " that exist are reused."
        )
    raw = run.config.model_dump(mode="json") | {"policy": policy, "policy_options": {}}
    raw["router"]["of"] = None  # the calibration that the run goes by is known
    return _computed(conn, run, parse_run(raw, source=f"--policy {policy}"))


def _computed(conn: Connection, run: runs.Run, config: RunConfig) -> Choices:
    """The decisions that a run of this policy would store. Raises JobFailed where the policy cannot decide."""
    measured = matrix.load(conn, run.id, config)
    calibration = set(measured.prompt_ids)
    chosen: dict[int, tuple[int, str]] = {}
    if run.calibration_in_set and (config.policy == "oracle" or config.calibration_answers == "best"):
        chosen = _best_measured(measured)
    if config.policy != "oracle":
        keys = {
            row.id: row.sha256
            for row in conn.execute(_PROMPTS, {"prompt_set_id": run.prompt_set_id})
            if row.id not in chosen and not (row.id in calibration and config.calibration_answers == "exclude")
        }
        choose = per_prompt.chooser(config, measured.quality, measured.learnability)
        basis = "random" if config.policy in ("random", "mix") else "static"
        positions = choose([*keys.values()]).teacher_index
        chosen |= {prompt: (int(position), basis) for prompt, position in zip(keys, positions, strict=True)}
    parameters = {
        "prompt_ids": [*chosen],
        "teacher_ids": [run.teacher_ids[position] for position, _ in chosen.values()],
        "bases": [basis for _, basis in chosen.values()],
        "attempts": [1] * len(chosen),
        "samples": [1 if basis == "measured" else config.teachers[at].samples for at, basis in chosen.values()],
    }
    return Choices(_COMPUTED, parameters)


def _best_measured(measured: matrix.CalibrationScores) -> dict[int, tuple[int, str]]:
    known = np.flatnonzero(~np.isnan(measured.reward).all(axis=1))
    best = per_prompt.best_measured(measured.reward[known]).teacher_index
    return {measured.prompt_ids[row]: (int(position), "measured") for row, position in zip(known, best, strict=True)}
