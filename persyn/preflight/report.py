"""The result of a check: what is wrong, what is worth knowing, and what the run would take."""

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One sentence about one part of the configuration. Where it is wrong, the run should not start."""

    wrong: bool
    about: str  # the key path, such as teachers[1].endpoint
    told: str


class WorkerNeed(NamedTuple):
    """One thing that a kind of worker needs on its host: a key in its environment, a model, a package."""

    worker: str  # the option that makes it one, such as --teachers slow
    thing: str


class StageEstimate(NamedTuple):
    """The work of one stage. `there`: the part that exists already and is not done again. None where unknown."""

    stage: str
    unit: str  # answers or scores
    new: int
    there: int
    prompt_tokens: int | None
    completion_tokens: int | None
    hours: float | None  # with one worker
    cost: float | None  # in the currency of the prices


class Report(NamedTuple):
    run: str
    prompts: int | None  # None: there is no such set
    calibration: int
    teachers: int
    findings: list[Finding]
    needs: list[WorkerNeed]
    answered: list[str]  # who was asked and answered
    stages: list[StageEstimate]
    cost_at_most: float | None  # if every answer were as long as it may be
    disk_bytes: int | None
    assumptions: list[str]

    @property
    def wrong(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.wrong]

    @property
    def answers(self) -> int:
        return sum(stage.new for stage in self.stages if stage.unit == "answers")

    @property
    def hours(self) -> float | None:
        hours = [stage.hours for stage in self.stages if stage.unit == "answers" and stage.new]
        return None if None in hours else sum(hour or 0.0 for hour in hours)

    @property
    def cost(self) -> float | None:
        known = [stage.cost for stage in self.stages if stage.cost is not None]
        return sum(known) if known else None

    @property
    def tokens(self) -> int:
        asked = [stage for stage in self.stages if stage.unit == "answers"]
        return sum((stage.prompt_tokens or 0) + (stage.completion_tokens or 0) for stage in asked)

    def verdict(self) -> str:
        """The whole in one sentence."""
        if self.wrong:
            count = len(self.wrong)
            return f"{self.run} cannot start: {count} {'thing is' if count == 1 else 'things are'} wrong."
        full = (self.prompts or 0) * self.teachers
        told = f"{self.run} can start: {self.answers:,} answers to ask for, where all teachers on all prompts would be"
        told += f" {full:,}; about {float(f'{self.tokens:.2g}'):,.0f} tokens"
        told += f", {duration(self.hours)} with one worker" if self.hours is not None else ""
        told += f", {money(self.cost)} in the currency of the prices" if self.cost is not None else ""
        return f"{told}."

    def as_json(self) -> dict[str, Any]:
        named = {name: [one._asdict() for one in getattr(self, name)] for name in ("findings", "needs", "stages")}
        totals = {"answers": self.answers, "tokens": self.tokens, "hours": self.hours, "cost": self.cost}
        return {"ok": not self.wrong, "sentence": self.verdict(), **self._asdict(), **named, "totals": totals}


def duration(hours: float) -> str:
    """A length of time as people say it."""
    if hours < 1 / 60:
        return "< 1 min"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:,.1f} h"


def money(amount: float) -> str:
    """A sum with its cents; a sum of a few cents with the two digits that say something."""
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
