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


class Endpoint(Strict):
    """A server that someone else runs; the key itself stays in the environment."""

    url: str = Field(pattern=r"^https?://")
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class Server(Strict):
    """How a worker serves a teacher's model with vLLM, where there is no `endpoint`."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    args: list[str] = Field(default=[], description="further arguments for vLLM's server")


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
    policy: Literal["persyn", "strong", "random"] = "persyn"
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

    def sha256(self) -> str:
        return fingerprint(self.model_dump(mode="json"))


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
