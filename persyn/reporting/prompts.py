"""One prompt in one run, as a person asks for it: all that happened to it, and why it has its teacher. Reads only."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn import runs
from persyn.errors import NotFound
from persyn.exports import best
from persyn.reporting import neighbours
from persyn.reporting.neighbours import Neighbour


class TrailStep(NamedTuple):
    """One thing that happened to a prompt."""

    at: datetime
    what: str
    teacher: str | None
    detail: dict[str, Any]


class DecisionReport(NamedTuple):
    """Coefficients are the router's, or the measured rewards where the basis is `measured`; None where none counted."""

    policy: str
    basis: str
    teacher: str
    coefficient: float | None
    margin: float | None
    runner_up: str | None
    runner_up_coefficient: float | None
    probability: float | None  # with which the teacher was chosen, where the run explores
    neighbour_ids: list[int]  # the calibration prompts nearest to it that taught the router, nearest first


class Sample(NamedTuple):
    """One of the several answers that a run asked for."""

    teacher: str
    generation_id: int
    sample_index: int
    quality: float | None
    learnability: float | None
    reward: float | None
    flaws: list[str]
    best: bool  # of those that are there; an export that keeps flaws may take another


class PromptTrail(NamedTuple):
    """All that a run knows of a prompt."""

    run_id: int
    prompt_id: int
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    steps: list[TrailStep]  # in the order in which they happened
    decision: DecisionReport | None
    neighbours: list[Neighbour]  # those of the decision that the run calibrated
    samples: list[Sample]  # empty where one teacher was asked once

    def as_json(self) -> dict[str, Any]:
        return {
            "prompt_id": self.prompt_id,
            "messages": self.messages,
            "tools": self.tools,
            "trail": [step._asdict() for step in self.steps],
            "decision": self.decision and self.decision._asdict(),
            "neighbours": [neighbour.as_json() for neighbour in self.neighbours],
        } | ({"samples": [sample._asdict() for sample in self.samples]} if self.samples else {})


_DECISION = text("""
SELECT d.policy, d.basis, d.teacher, d.coefficient, d.margin, d.runner_up, d.runner_up_coefficient,
       d.probability, coalesce(d.neighbour_ids, '{}') AS neighbour_ids
FROM audit.decision d JOIN run r ON r.id = d.run_id AND r.policy = d.policy
WHERE d.run_id = :run_id AND d.prompt_id = :prompt_id AND d.attempt = 1
""")

_TRAIL = text("""
SELECT at, what, teacher, detail FROM audit.prompt_trail
WHERE run_id = :run_id AND prompt_id = :prompt_id ORDER BY at, step
""")


def prompt_trail(conn: Connection, run: str, key: str) -> PromptTrail:
    """The run by its name or number, the prompt as `find_prompt` takes it. Raises NotFound."""
    run_id = runs.find(conn, run)
    prompt_id = find_prompt(conn, run_id, key)
    keys = {"run_id": run_id, "prompt_id": prompt_id}
    row = conn.execute(_DECISION, keys).first()
    decision = None if row is None else DecisionReport(*row)
    neighbour_ids = decision.neighbour_ids if decision else []
    loaded = runs.load(conn, run_id)
    prompt = conn.execute(text("SELECT messages, tools FROM prompt WHERE id = :prompt_id"), keys).one()
    return PromptTrail(
        run_id,
        prompt_id,
        messages=prompt.messages,
        tools=prompt.tools,
        steps=[TrailStep(*step) for step in conn.execute(_TRAIL, keys)],
        decision=decision,
        neighbours=neighbours.measured_on(conn, run_id, loaded.config, neighbour_ids),
        samples=[sample for group in best.candidates(conn, loaded, prompt_id) for sample in _samples(group)],
    )


def _samples(group: list[best.SampledAnswer]) -> list[Sample]:
    chosen = best.best(group)
    return [
        Sample(
            one.teacher, one.generation_id, one.sample_index, one.quality, one.learnability, one.reward, one.flaw_words,
            one is chosen,
        )
        for one in group
    ]  # fmt: skip


def find_prompt(conn: Connection, run_id: int, key: str) -> int:
    """A prompt of the run by its external id or, failing that, its number. Raises NotFound."""
    row = conn.execute(
        text("""
        SELECT p.id FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id
        WHERE r.id = :run_id AND (p.external_id = :key OR p.id::text = :key)
        ORDER BY (p.external_id = :key) DESC NULLS LAST LIMIT 1
        """),
        {"run_id": run_id, "key": key},
    ).first()
    if row is None:
        raise NotFound(f"Run {run_id} has no prompt {key!r}. Give the id from your file, or the prompt's number.")
    return int(row.id)


def a_routed_prompt(conn: Connection, run_id: int) -> str:
    """The id of one prompt that the policy routed, for a person to look at first."""
    row = conn.execute(
        text("""
        SELECT coalesce(p.external_id, p.id::text) AS key
        FROM routing_decision d JOIN prompt p ON p.id = d.prompt_id
        WHERE d.run_id = :id ORDER BY d.basis = 'measured', p.position LIMIT 1
        """),
        {"id": run_id},
    ).first()
    return "ID" if row is None else str(row.key)
