"""The scorers of answers. A scorer's section, without its weight, determines alone what it measures."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from persyn.config.endpoints import FROM_FILE, Endpoint
from persyn.config.strict import Dtype, Name, Strict
from persyn.config.teachers import Sampling


class _Scorer(Strict):
    weight: float = Field(
        default=1.0, ge=0.0, description="among scorers of its kind; 0: measured and stored, but not combined"
    )


class MathVerify(_Scorer):
    """1 if the final answer equals the prompt's reference answer, else 0."""

    kind: Literal["math_verify"] = "math_verify"


def _as_names(value: Any) -> Any:
    """A list of names, where one name stands for a list, and an empty one where nothing does."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


class Consensus(_Scorer):
    """The share of the other teachers' answers to the same prompt whose final answer is this one's."""

    kind: Literal["consensus"]
    opinion: Annotated[list[Name], BeforeValidator(_as_names, json_schema_input_type=Name | list[Name] | None)] = Field(
        default=[],
        max_length=2,
        description="the teacher that answers each routed prompt too; a second one, where it is routed to the first",
    )
    # Whose teachers vote and which prompts they all answered: a verdict counts there alone. Set when a run is made.
    run_id: SkipJsonSchema[int | None] = None

    @field_validator("run_id")
    @classmethod
    def _in_no_file(cls, given: int | None, info: ValidationInfo) -> int | None:
        if given is not None and info.context == FROM_FILE:
            raise ValueError("a run sets this key itself. Leave it out")
        return given


class RewardModel(_Scorer):
    """A sequence-classification model, in process or behind a vLLM pooling server."""

    kind: Literal["reward_model"]
    model: str = Field(min_length=1)
    revision: str | None = None
    max_length: int = Field(default=4096, ge=16, description="tokens of conversation and answer")
    dtype: Dtype = "auto"
    endpoint: Endpoint | None = None


class Judge(_Scorer):
    """A model behind an endpoint that gives one answer 1 to 10 by a rubric."""

    kind: Literal["judge"]
    model: str = Field(min_length=1)
    endpoint: Endpoint
    rubric: str | None = None
    sampling: Sampling = Field(default=Sampling(), description="a judge that thinks needs a larger max_tokens")


class Imported(_Scorer):
    """Scores that came with imported answers; nothing computes them here."""

    kind: Literal["imported"]
    source: str = Field(default="file", min_length=1, description="who measured it")
    minimum: float = 0.0
    maximum: float = 1.0

    @model_validator(mode="after")
    def _range(self) -> "Imported":
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be less than maximum")
        return self


class _Learnability(_Scorer):
    answer_tokens: int | None = Field(default=None, ge=1, description="score the answer's first tokens only")


class LogLik(_Learnability):
    """The paper's learnability: the mean log-likelihood of the answer's tokens."""

    kind: Literal["loglik"] = "loglik"


class Ifd(_Learnability):
    """Instruction-following difficulty: the answer's loss given the prompt over its loss alone."""

    kind: Literal["ifd"]


class RankSurprisal(_Learnability):
    """Rank-Surprisal Ratio: the student's ranks of the answer's tokens over their surprisal."""

    kind: Literal["rank_surprisal"]


class Scas(_Learnability):
    """Student-Centric Answer Sampling's learning cost, by a forward pass alone."""

    kind: Literal["scas"]
    question_weight: float = Field(default=0.5, ge=0.0, le=1.0, description="the paper's λ")


class Lark(_Learnability):
    """LARK's ĝ: how fast training on an answer lowers the loss, among the answers to its prompt."""

    kind: Literal["lark"]


class LocalNaturalness(_Learnability):
    """Local naturalness: the mean log-likelihood of the answer's steps, each after a few steps alone."""

    kind: Literal["local_naturalness"]
    window: int = Field(default=4, ge=0, description="steps (sentences or lines) before a step that the student sees")


QualityScorer = Annotated[MathVerify | Consensus | RewardModel | Judge | Imported, Field(discriminator="kind")]
LearnabilityScorer = Annotated[
    LogLik | Ifd | RankSurprisal | Scas | Lark | LocalNaturalness, Field(discriminator="kind")
]


def _as_list(value: Any) -> Any:
    """A list of one, where a single mapping stands for a list, and an empty one where `none` does."""
    if value is None or value == "none":
        return []
    return [value] if isinstance(value, dict) else value


class Scorers(Strict):
    quality: Annotated[
        list[QualityScorer], BeforeValidator(_as_list, json_schema_input_type=QualityScorer | list[QualityScorer])
    ] = Field(default=[MathVerify()], min_length=1, description="how good an answer is; one scorer, or a list")
    learnability: Annotated[
        list[LearnabilityScorer],
        BeforeValidator(
            _as_list, json_schema_input_type=LearnabilityScorer | list[LearnabilityScorer] | Literal["none"] | None
        ),
    ] = Field(
        default=[LogLik()],
        description="how easily the student learns it; one scorer, or a list; none, with alpha 0, loads no student",
    )
    score: Literal["calibration", "all"] = Field(
        default="all", description="whether the answers to routed prompts are scored too"
    )

    @model_validator(mode="after")
    def _countable(self) -> "Scorers":
        for kind, scorers in (("quality", self.quality), ("learnability", self.learnability)):
            if scorers and not any(scorer.weight for scorer in scorers):
                raise ValueError(f"{kind}: at least one scorer needs a weight above 0")
            identities = [scorer_identity(scorer) for scorer in scorers]
            if any(identity in identities[:place] for place, identity in enumerate(identities)):
                raise ValueError(f"{kind}: two scorers are the same but for their weight; keep one")
        if sum(isinstance(scorer, Imported) for scorer in self.quality) > 1:
            raise ValueError("quality: only one scorer can be imported")
        if sum(isinstance(scorer, Consensus) for scorer in self.quality) > 1:
            raise ValueError("quality: only one scorer can be consensus")
        return self


def parse_scorer(kind: str, config: dict[str, Any]) -> QualityScorer | LearnabilityScorer:
    """A scorer from its row: `kind` is quality or learnability."""
    adapter: TypeAdapter[QualityScorer | LearnabilityScorer] = TypeAdapter(
        QualityScorer if kind == "quality" else LearnabilityScorer
    )
    return adapter.validate_python(config)


def scorer_identity(scorer: Strict) -> dict[str, Any]:
    """The values that change a score: not its weight, nor where and how fast its endpoint is asked."""
    config = scorer.model_dump(mode="json", exclude={"weight", "endpoint", "sampling"})
    if isinstance(scorer, Judge):
        config["sampling"] = scorer.sampling.identity()  # a verdict that was cut is no score
    served = getattr(scorer, "endpoint", None) is not None
    return config | ({"served": True} if served else {})
