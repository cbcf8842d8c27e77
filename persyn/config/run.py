"""One run's whole configuration, and the rules that tie its sections together."""

from typing import Any, Literal

from pydantic import Field, model_validator

from persyn.config.policies import READ_BY, Policy, PolicyOptions, check_budget
from persyn.config.router import Preferences, Router
from persyn.config.scorers import LearnabilityScorer, Scorers
from persyn.config.strict import Name, Share, Strict, fingerprint
from persyn.config.teachers import Student, Teacher


class Calibration(Strict):
    size: int = Field(default=2500, ge=2)
    validation: float = Field(default=0.2, gt=0.0, lt=1.0, description="share of it that the router never trains on")


class Export(Strict):
    formats: list[Literal["jsonl", "parquet"]] = Field(default=["jsonl"], min_length=1)
    layout: Literal["messages", "prompt_completion"] = "messages"


class RunConfig(Strict):
    """One run: prompt set × student × teacher pool × everything that changes results."""

    name: Name
    prompts: Name = Field(description="the prompt set's name")
    student: Student
    teachers: list[Teacher] = Field(min_length=2, max_length=64)
    scorers: Scorers = Scorers()
    alpha: Share = 0.4
    normalisation: Literal["minmax", "zscore", "rank"] = "minmax"
    calibration: Calibration = Calibration()
    preferences: Preferences = Preferences()
    router: Router = Router()
    policy: Policy = "persyn"
    policy_options: PolicyOptions = PolicyOptions()
    calibration_answers: Literal["best", "routed", "exclude"] = "best"
    export: Export = Export()
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _papers_pairs_count_alike(cls, given: Any) -> Any:
        router = given.get("router") if isinstance(given, dict) else None
        if isinstance(router, dict) and router.get("preset") == "paper":
            return {**given, "preferences": {"weight": "none", **(given.get("preferences") or {})}}
        return given

    @model_validator(mode="after")
    def _names_differ(self) -> "RunConfig":
        names = [teacher.name for teacher in self.teachers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"teacher names must differ; given twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _policy_has_what_it_needs(self) -> "RunConfig":
        names, options = [teacher.name for teacher in self.teachers], self.policy_options
        default = PolicyOptions()
        for field, readers in READ_BY.items():
            if self.policy not in readers and getattr(options, field) != getattr(default, field):
                raise ValueError(
                    f"policy_options.{field}: the policy {self.policy} does not read it."
                    f" Remove it, or set policy: {readers[0]}"
                )
        named = [("strong", options.strong), ("weak", options.weak), *(("budget", name) for name in options.budget)]
        for field, name in named:
            if name is not None and name not in names:
                raise ValueError(f"policy_options.{field}: no teacher is called {name!r}; there are {', '.join(names)}")
        if self.policy == "budgeted":
            check_budget(names, options.budget)
        if self.policy == "oracle" and self.calibration_answers == "exclude":
            raise ValueError(
                "calibration_answers: the policy oracle decides by calibration answers, so they cannot be excluded."
                " Leave this key out"
            )
        if self.policy == "family_strong" and not self.own_family():
            families = ", ".join(sorted({teacher.family for teacher in self.teachers}))
            lacking = f"none is of {self.student.family!r}" if self.student.family else "the student's is not given"
            raise ValueError(
                f"student.family: the policy family_strong needs a teacher of the student's own family; {lacking}"
                f" (the teachers' families: {families})"
            )
        return self

    @model_validator(mode="after")
    def _learnability_is_measured_where_it_counts(self) -> "RunConfig":
        if self.needs_learnability and not self.scorers.learnability:
            reader = "the policy car reads it" if self.policy == "car" else f"alpha is {self.alpha:g}"
            raise ValueError(f"scorers.learnability: {reader}, so it must be measured. Name a measure, as kind: loglik")
        return self

    @property
    def needs_router(self) -> bool:
        return self.policy in ("persyn", "budgeted")

    @property
    def needs_learnability(self) -> bool:
        return self.alpha > 0.0 or self.policy == "car"

    def measures(self) -> list[LearnabilityScorer]:
        """The measures of learnability that a new run takes: where none is needed, only those given by name."""
        named = "learnability" in self.scorers.model_fields_set
        return self.scorers.learnability if named or self.needs_learnability else []

    def own_family(self) -> list[int]:
        """The positions of the teachers of the student's own family, whatever their case."""
        family = self.student.family
        if family is None:
            return []
        families = [teacher.family.casefold() for teacher in self.teachers]
        return [position for position, other in enumerate(families) if other == family.casefold()]

    def identity(self) -> dict[str, object]:
        """The values that make it the same run: all but the limits and prices of its endpoints."""

        return self.model_dump(mode="json") | {"teachers": [teacher.identity() for teacher in self.teachers]}

    def sha256(self) -> str:
        return fingerprint(self.model_dump(mode="json"))
