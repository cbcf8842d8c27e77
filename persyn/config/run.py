"""One run's whole configuration, and the rules that tie its sections together."""

from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from persyn.config.export import NO_LOGLIK, Export
from persyn.config.policies import READ_BY, Policy, PolicyOptions, check_budget
from persyn.config.rerouting import Reroute, as_reroute, check_bar, is_checked, is_measured, verdict_bar
from persyn.config.router import Preferences, Router
from persyn.config.scorers import Consensus, Imported, Lark, LearnabilityScorer, LogLik, Scorers, scorer_identity
from persyn.config.strict import Name, Share, Strict, fingerprint
from persyn.config.teachers import Student, Teacher

FEWEST_VOTERS = 3


class Calibration(Strict):
    size: int = Field(default=2500, ge=2, description="prompts that every teacher answers")
    validation: float = Field(default=0.2, gt=0.0, lt=1.0, description="share of it that the router never trains on")
    missing_at_most: Share = Field(
        default=0.02,
        description="share of its scores that may be missing for a cause that may pass; else the run stops",
    )


class RunConfig(Strict):
    """One run: prompt set × student × teacher pool × everything that changes results."""

    name: Name = Field(description="names the run in every command")
    prompts: Name = Field(description="the prompt set's name")
    student: Student = Field(description="the model that will be trained on the answers")
    teachers: list[Teacher] = Field(min_length=2, max_length=64, description="in the order of the coefficients")
    scorers: Scorers = Field(default=Scorers(), description="how an answer is judged")
    alpha: Share = Field(default=0.4, description="weight of learnability in the combined reward")
    normalisation: Literal["minmax", "zscore", "rank"] = Field(default="minmax", description="within a prompt")
    calibration: Calibration = Calibration()
    preferences: Preferences = Preferences()
    router: Router = Router()
    policy: Policy = Field(default="persyn", description="persyn, budgeted (both by the router), or a baseline")
    policy_options: PolicyOptions = PolicyOptions()
    calibration_answers: Literal["best", "routed", "exclude"] = Field(
        default="best", description="for calibration prompts: the best by measured reward, the routed one, or none"
    )
    reroute: Annotated[
        Reroute | Literal["off"] | None,
        BeforeValidator(as_reroute, json_schema_input_type=Reroute | Literal["on", "off"] | bool | None),
    ] = Field(
        default=None,
        description="ask another teacher where an answer is not good enough; by default where math_verify checks it",
    )
    export: Export = Export()
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the sample, the router and the random policy")

    @model_validator(mode="before")
    @classmethod
    def _papers_pairs_count_alike(cls, given: Any) -> Any:
        router = given.get("router") if isinstance(given, dict) else None
        preferences = given.get("preferences") or {} if isinstance(given, dict) else None
        if isinstance(router, dict) and router.get("preset") == "paper" and isinstance(preferences, dict):
            return {**given, "preferences": {"weight": "none", **preferences}}
        return given

    @model_validator(mode="after")
    def _names_differ(self) -> "RunConfig":
        names = [teacher.name for teacher in self.teachers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"teacher names must differ; given twice: {', '.join(twice)}. Give each its own name")
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
        if options.explore and sum(teacher.model is not None for teacher in self.teachers) < 2:
            raise ValueError(
                "policy_options.explore: it draws among the teachers that can be asked, and fewer than two have a"
                " model. Leave this key out"
            )
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
    def _a_router_of_another_run_is_asked(self) -> "RunConfig":
        if self.router.of is not None and not self.needs_router:
            raise ValueError(
                f"router.of: the policy {self.policy} asks no router. Leave this key out, or set policy: persyn"
            )
        if self.router.of == self.name:
            raise ValueError("router.of: a run has its own router anyway. Name another run, or leave this key out")
        return self

    @model_validator(mode="after")
    def _learnability_is_measured_where_it_counts(self) -> "RunConfig":
        if self.needs_learnability and not self.scorers.learnability:
            reader = "the policy car reads it" if self.policy == "car" else f"alpha is {self.alpha:g}"
            raise ValueError(f"scorers.learnability: {reader}, so it must be measured. Name a measure, as kind: loglik")
        return self

    @model_validator(mode="after")
    def _car_divides_by_a_loss(self) -> "RunConfig":
        if self.policy == "car" and any(isinstance(one, Lark) and one.weight for one in self.scorers.learnability):
            raise ValueError(
                "scorers.learnability: the policy car divides by the student's loss, and lark is a gain of training."
                " Set another measure, as kind: loglik, or lark's weight to 0"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_ordered_by_what_is_measured(self) -> "RunConfig":
        if self.export.order != "given" and not any(isinstance(one, LogLik) for one in self.measures()):
            raise ValueError(f"export.order: {NO_LOGLIK}")
        return self

    @model_validator(mode="after")
    def _the_best_of_several_answers_is_measured(self) -> "RunConfig":
        where = next((f"teachers[{at}].samples" for at, one in enumerate(self.teachers) if one.samples > 1), None)
        if where is not None and self.scorers.score != "all":
            raise ValueError(
                f"{where}: the best of several answers is told by their scores. Set scorers.score: all, or leave"
                " samples out"
            )
        if (
            where is not None
            and self.alpha < 1.0
            and any(isinstance(scorer, Imported) and scorer.weight for scorer in self.scorers.quality)
        ):
            raise ValueError(
                f"{where}: the best of several answers is told by their quality, and an imported quality is none of a"
                " new answer. Name a scorer that measures it, as kind: math_verify, or leave samples out"
            )
        return self

    @model_validator(mode="after")
    def _rerouting_has_what_it_needs(self) -> "RunConfig":
        if not isinstance(self.reroute, Reroute):
            return self
        if self.policy in ("budgeted", "oracle"):
            why = "holds each teacher to its budget" if self.policy == "budgeted" else "has every answer already"
            raise ValueError(f"reroute: the policy {self.policy} {why}. Set reroute: off, or another policy")
        if self.scorers.score != "all":
            raise ValueError(
                "reroute: it goes by the scores of routed answers. Set scorers.score: all, or reroute: off"
            )
        if not is_measured(self.scorers.quality):
            raise ValueError(
                "reroute: an imported quality is none of a new answer. Name a scorer that measures it, as kind:"
                " math_verify, or set reroute: off"
            )
        if self.reroute.bar is not None:
            check_bar(self.reroute.bar, self.scorers.quality)
        if self.reroute.price == "cost":
            free = [one.name for one in self.teachers if one.endpoint is None or one.endpoint.price is None]
            if free:
                raise ValueError(
                    f"reroute.price: cost needs each teacher's price; {', '.join(free)} gives none."
                    " Add endpoint.price to it, or set price: tokens"
                )
        if self.reroute.price == "answers" and self.reroute.per == "prompt" and (self.reroute.budget or 1.0) < 1.0:
            raise ValueError(
                f"reroute.budget: {self.reroute.budget:g} answers a prompt is less than the one that routing asks for."
                " Give 1 or more"
            )
        return self

    @model_validator(mode="after")
    def _a_consensus_has_its_voters(self) -> "RunConfig":
        scorer = self.consensus
        if scorer is None:
            return self
        if len(self.teachers) < FEWEST_VOTERS:
            raise ValueError(
                f"scorers.quality: consensus asks how many teachers agree, and needs {FEWEST_VOTERS} of them; there are"
                f" {len(self.teachers)}. Add one, or name another scorer"
            )
        if scorer.opinion:
            self._check_opinion(scorer.opinion)
        elif isinstance(self.reroute, Reroute) or (self.scorers.score == "all" and self.policy != "oracle"):
            key, other = ("reroute", "reroute: off") if isinstance(self.reroute, Reroute) else ("scorers.score", "")
            raise ValueError(
                f"{key}: consensus needs a second answer to each routed prompt. Name the teacher that gives it, as"
                f" scorers.quality.opinion: {self.teachers[0].name}, or set scorers.score: calibration"
                + (f" and {other}" if other else "")
            )
        return self

    def _check_opinion(self, opinion: list[str]) -> None:
        by_name = {teacher.name: teacher for teacher in self.teachers}
        for name in opinion:
            if name not in by_name:
                raise ValueError(
                    f"scorers.quality.opinion: no teacher is called {name!r}; there are {', '.join(by_name)}"
                )
            if by_name[name].model is None:
                raise ValueError(
                    f"scorers.quality.opinion: the teacher {name!r} has no model, so it cannot be asked. Name another"
                )
        if len(set(opinion)) < len(opinion):
            raise ValueError(
                f"scorers.quality.opinion: {opinion[0]!r} stands there twice; the second is for what is routed to the"
                " first. Name another, or one"
            )
        if len(self.opinions) == 1:
            raise ValueError(
                f"scorers.quality.opinion: only {opinion[0]!r} has a model, so nobody can be asked about its own"
                " answers. Leave opinion out, and set scorers.score: calibration"
            )
        if self.scorers.score != "all":
            raise ValueError(
                "scorers.quality.opinion: no routed answer is scored, so no second one is asked for. Set scorers.score:"
                " all, or leave opinion out"
            )
        if self.policy == "budgeted":
            raise ValueError(
                "scorers.quality.opinion: the policy budgeted holds each teacher to its budget. Leave opinion out and"
                " set scorers.score: calibration, or choose another policy"
            )

    @property
    def consensus(self) -> Consensus | None:
        """The scorer of agreement between teachers, where the run has it."""
        return next((scorer for scorer in self.scorers.quality if isinstance(scorer, Consensus)), None)

    @property
    def opinions(self) -> list[str]:
        """Who answers each routed prompt a second time, and who does where it is routed to that teacher; or nobody."""
        opinion = self.consensus.opinion if self.consensus is not None else []
        if len(opinion) != 1:
            return opinion
        others = (one.name for one in self.teachers if one.model is not None and one.name != opinion[0])
        return [*opinion, *islice(others, 1)]

    @property
    def rerouting(self) -> Reroute | None:
        """The options of rerouting, where the run does it."""
        if isinstance(self.reroute, Reroute) or self.reroute == "off":
            return None if self.reroute == "off" else self.reroute
        by_default = self.policy == "persyn" and self.router.preset != "paper" and self.scorers.score == "all"
        return Reroute() if by_default and self.is_checked else None

    @property
    def verdict_bar(self) -> float | None:
        """The bar where an answer's quality is a verdict on its final answer; None where it is none."""
        return verdict_bar(self.scorers.quality)

    @property
    def is_checked(self) -> bool:
        """Whether an answer's quality says right or wrong, by a reference answer."""
        return is_checked(self.scorers.quality)

    @property
    def needs_router(self) -> bool:
        return self.policy in ("persyn", "budgeted")

    @property
    def needs_learnability(self) -> bool:
        return self.alpha > 0.0 or self.policy == "car"

    @property
    def asks_several_times(self) -> bool:
        """Whether a routed prompt may get several answers."""
        return self.rerouting is not None or any(teacher.samples > 1 for teacher in self.teachers)

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

    def identity(self) -> dict[str, Any]:
        """The values that make it the same run: all but its export, its patience, its endpoints' whereabouts, and
        its student's training.
        """
        later: dict[str, Any] = {"export": True, "calibration": {"missing_at_most"}, "student": {"training"}}
        config = self.model_dump(mode="json", exclude=later)
        for asked in (*config["teachers"], *config["scorers"]["quality"]):
            if asked.get("endpoint") is not None:
                asked["endpoint"] = {}
        return config

    def router_identity(self) -> dict[str, Any]:
        """The values that a router comes from and its coefficients count for; a run that borrows it has the same."""
        learnability = self.scorers.learnability if self.needs_learnability else []
        return {
            "student": self.student.identity(),
            "teachers": [teacher.router_identity() for teacher in self.teachers],
            "scorers": {
                "quality": [scorer_identity(one) | {"weight": one.weight} for one in self.scorers.quality],
                "learnability": [scorer_identity(one) | {"weight": one.weight} for one in learnability],
            },
            "alpha": self.alpha,
            "normalisation": self.normalisation,
            "calibration": self.calibration.model_dump(exclude={"missing_at_most"}),
            "preferences": self.preferences.model_dump(),
            "router": self.router.model_dump(exclude={"of"}),
            "seed": self.seed,
        }

    def sha256(self) -> str:
        return fingerprint(self.model_dump(mode="json"))
