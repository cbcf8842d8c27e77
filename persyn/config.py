"""What a run is (its YAML) and where this process stands (its environment).

All that changes results is in the YAML, is validated here and is stored with its hash.
Addresses and secrets are in the environment and are stored nowhere.
"""

import hashlib
import json
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from persyn.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Policy = Literal["persyn", "strong", "family_strong", "mix", "car", "random", "oracle", "budgeted"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)  # JSON, and so jsonb, has no infinity


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Strict):
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(default=1024, ge=1)
    stop: list[str] = []


class Price(Strict):
    """What an endpoint asks, in one currency of your choice; the audit view `cost` multiplies it out."""

    input: float = Field(ge=0.0, description="per million prompt tokens")
    output: float = Field(ge=0.0, description="per million completion tokens")


class Endpoint(Strict):
    """A server that someone else runs; the key itself stays in the environment."""

    url: str = Field(pattern=r"^https?://")
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    concurrency: int = Field(default=64, ge=1, le=512, description="the most requests in flight from one worker")
    requests_per_minute: float | None = Field(default=None, gt=0.0, description="by one worker")
    tokens_per_minute: float | None = Field(default=None, gt=0.0, description="read and written, by one worker")
    price: Price | None = None


class Server(Strict):
    """How a worker serves a teacher's model, where there is no `endpoint`."""

    kind: Literal["auto", "vllm", "transformers", "stub"] = Field(
        default="auto", description="auto: vllm where it is installed, else transformers; stub: no model, for tests"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    args: list[str] = Field(default=[], description="further arguments for the server")


class Teacher(Strict):
    name: Name
    family: str = Field(min_length=1)
    params_b: float = Field(gt=0, description="size in billions of parameters")
    model: str = Field(min_length=1, description="a local folder, a Hugging Face name, or bundled:NAME")
    revision: str | None = None
    system_prompt: str | None = None
    examples: list[Message] = Field(default=[], description="worked examples, put before the prompt's messages")
    sampling: Sampling = Sampling()
    endpoint: Endpoint | None = None
    server: Server = Server()

    @model_validator(mode="after")
    def _examples_alternate(self) -> "Teacher":
        roles = [message.role for message in self.examples]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("examples must alternate user and assistant, and end with assistant")
        return self


class Student(Strict):
    name: Name
    model: str = Field(min_length=1)
    revision: str | None = None
    family: str | None = None
    max_length: int = Field(default=2048, ge=16, description="tokens of prompt and answer that are scored")


class QualityScorer(Strict):
    kind: Literal["math_verify"] = "math_verify"


class LearnabilityScorer(Strict):
    kind: Literal["loglik"] = "loglik"


class Scorers(Strict):
    quality: QualityScorer = QualityScorer()
    learnability: LearnabilityScorer = LearnabilityScorer()
    score: Literal["calibration", "all"] = Field(
        default="all", description="whether the answers to routed prompts are scored too"
    )


class Calibration(Strict):
    size: int = Field(default=2500, ge=2)
    validation: float = Field(default=0.2, gt=0.0, lt=1.0, description="share of it that the router never trains on")


class Router(Strict):
    backbone: str = Field(default="bundled:all-minilm-l6-v2", min_length=1)
    revision: str | None = None
    pooling: Literal["mean", "last"] = "mean"
    freeze_backbone: bool = True
    max_length: int = Field(default=512, ge=8)
    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1, description="epochs without a better validation loss before it stops")
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)


class Budget(Strict):
    """What one teacher may take of the prompts that the policy `budgeted` routes; of several limits the tightest."""

    share: Share | None = Field(default=None, description="of the routed prompts")
    tokens: int | None = Field(default=None, ge=0, description="completion tokens")
    cost: float | None = Field(default=None, ge=0.0, description="in the currency of the prices")
    price: float | None = Field(default=None, gt=0.0, description="per million completion tokens")
    prompt_price: float = Field(default=0.0, ge=0.0, description="per million prompt tokens")

    @model_validator(mode="after")
    def _limits_something(self) -> "Budget":
        if self.share is None and self.tokens is None and self.cost is None:
            raise ValueError("give a share, tokens or a cost")
        if (self.cost is None) != (self.price is None):
            raise ValueError("cost and price (per million completion tokens) go together; give both or neither")
        return self

    @property
    def only_share(self) -> bool:
        return self.tokens is None and self.cost is None


class PolicyOptions(Strict):
    """What single policies read; each says which."""

    strong: Name | None = Field(default=None, description="mix: the strong teacher; by measured quality if absent")
    weak: Name | None = Field(default=None, description="mix: the weak teacher; by measured quality if absent")
    strong_share: Share = Field(default=0.2, description="mix: the strong teacher's share")
    beta: float = Field(default=3.0, ge=0.0, description="car: the weight of the student's loss")
    budget: dict[Name, Budget] = Field(default={}, description="budgeted: limits by teacher; none given, none set")


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
    router: Router = Router()
    policy: Policy = "persyn"
    policy_options: PolicyOptions = PolicyOptions()
    calibration_answers: Literal["best", "routed", "exclude"] = "best"
    export: Export = Export()
    seed: int = Field(default=0, ge=0, lt=2**31)

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
        for field, readers in _READ_BY.items():
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
            _check_budget(names, options.budget)
        if self.policy == "family_strong" and not self.own_family():
            families = ", ".join(sorted({teacher.family for teacher in self.teachers}))
            lacking = f"none is of {self.student.family!r}" if self.student.family else "the student's is not given"
            raise ValueError(
                f"student.family: the policy family_strong needs a teacher of the student's own family; {lacking}"
                f" (the teachers' families: {families})"
            )
        return self

    @property
    def needs_router(self) -> bool:
        return self.policy in ("persyn", "budgeted")

    def own_family(self) -> list[int]:
        """The positions of the teachers of the student's own family."""
        own = self.student.family
        same = [own is not None and teacher.family.casefold() == own.casefold() for teacher in self.teachers]
        return [position for position, is_same in enumerate(same) if is_same]

    def sha256(self) -> str:
        return fingerprint(self.model_dump(mode="json"))


_READ_BY: dict[str, tuple[Policy, ...]] = {
    "strong": ("mix",),
    "weak": ("mix",),
    "strong_share": ("mix",),
    "beta": ("car",),
    "budget": ("budgeted",),
}


def _check_budget(names: list[str], budget: dict[str, Budget]) -> None:
    if not budget:
        raise ValueError("policy_options.budget: the policy budgeted needs a limit for one teacher at least")
    shares = [budget[name].share for name in names if name in budget]
    total = sum(1.0 if share is None else share for share in shares)
    if len(shares) == len(names) and total < 1.0 - 1e-9:
        raise ValueError(
            f"policy_options.budget: the shares of all teachers together are {total:g}, less than 1, so some prompts"
            " would have no teacher. Raise one, or leave one teacher without a budget"
        )


def fingerprint(value: Any) -> str:
    """The hex sha256 of a JSON value in canonical form (sorted keys, no white space, UTF-8)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; here that is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if any(key.value == earlier.value for earlier in keys[:position]):
                message = f"key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(problem=message, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def load_run(path: Path) -> RunConfig:
    """Read a run's YAML.

    Raises ConfigError, naming for each mistake the key path, the value and what was expected.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `persyn init {path}` writes one to start from.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}.") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    return parse_run(raw, source=str(path))


def parse_run(raw: Any, *, source: str) -> RunConfig:
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a mapping of keys such as name, prompts and teachers.")
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as exc:
        raise ConfigError("\n".join(f"{source}: {_mistake(error)}" for error in exc.errors())) from exc


def _mistake(error: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "missing":
        return f"{where}: missing. Add this key."
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key. Remove it or correct its spelling."
    if error["type"] == "value_error":
        return f"{where}: {message}." if where else f"{message}."
    return f"{where}: got {_shorten(error['input'])}; {message[0].lower()}{message[1:]}."


def _shorten(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Settings(NamedTuple):
    """Where this process stands. An address that is None means the embedded service under `home`."""

    home: Path
    database_url: str | None
    broker_url: str | None

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls(
            home=Path(os.environ.get("PERSYN_HOME") or ".persyn").resolve(),
            database_url=os.environ.get("PERSYN_DATABASE_URL") or None,
            broker_url=os.environ.get("PERSYN_BROKER_URL") or None,
        )
