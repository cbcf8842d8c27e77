"""The teachers, how they are asked and served, and the student."""

import re
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from persyn.config.endpoints import FROM_FILE, Endpoint
from persyn.config.formats import check_format
from persyn.config.secrecy import holds_key
from persyn.config.strict import Dtype, Name, Strict
from persyn.config.training import StudentTraining
from persyn.errors import ConfigError


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Strict):
    """The parameters of a request. A null one is not sent."""

    temperature: float | None = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float | None = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(default=1024, ge=1, le=10_000_000, description="a larger one keeps whole answers")
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10_000_000, description="max_tokens by that name")
    stop: list[str] = Field(default=[])
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    presence_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    frequency_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    repetition_penalty: float | None = Field(default=None, gt=0.0)
    seed: int | Literal["prompt"] | None = Field(
        default="prompt", description="prompt: one of each prompt's own, so that asking again gives the same answer"
    )
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    response_format: dict[str, JsonValue] | None = None
    extra_body: dict[str, JsonValue] | None = Field(
        default=None, description="further keys of the request, as they are"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_limit_and_one_answer(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        several = [name for name in ("n", "samples", "best_of") if name in given]
        if any(given[name] != 1 for name in several):
            raise ValueError(
                f"{several[0]}: one request asks for one answer. For several answers to a prompt give the teacher"
                " samples: 4, beside its sampling; the best of them by reward is taken"
            )
        given = {name: value for name, value in given.items() if name not in several}
        limit = given.get("max_completion_tokens")
        if limit is not None and given.get("max_tokens", limit) != limit:
            raise ValueError("max_tokens and max_completion_tokens are two names of one limit; give one of them")
        return given if limit is None else given | {"max_tokens": limit}

    @field_validator("response_format")
    @classmethod
    def _a_format(cls, given: dict[str, JsonValue] | None, info: ValidationInfo) -> dict[str, JsonValue] | None:
        if given is not None and info.context == FROM_FILE:
            check_format(given)
        return given

    @field_validator("extra_body")
    @classmethod
    def _a_body(cls, given: dict[str, JsonValue] | None, info: ValidationInfo) -> dict[str, JsonValue] | None:
        if given and "response_format" in given and info.context == FROM_FILE:
            check_format(given["response_format"])
        if info.context == FROM_FILE and holds_key(given):
            raise ValueError(
                "it holds a key, which does not belong in this file. Put it into an environment variable, and name this"
                " in endpoint.api_key_env or endpoint.headers"
            )
        return given

    @model_validator(mode="after")
    def _sendable(self) -> "Sampling":
        own = {"model", "messages", "stream", "n", "max_completion_tokens", *self.model_dump(exclude_none=True)}
        taken = sorted(own & (self.extra_body or {}).keys())
        if taken:
            raise ValueError(f"extra_body.{taken[0]}: give it as a key of its own, or leave it out")
        return self

    @property
    def draws(self) -> bool:
        """Whether an answer may be drawn at random; a server's own default may be so too."""
        return self.temperature is None or self.temperature > 0

    @property
    def varies(self) -> bool:
        """Whether another seed may give another answer."""
        return self.draws and self.top_k != 1 and "seed" not in (self.extra_body or {})

    def request(self, seed: int, *, limit_name: str | None = None) -> dict[str, Any]:
        """The keys of a request. `seed`: what `seed_of` gives; `limit_name`: what the server calls max_tokens."""
        given = self.model_dump(
            exclude_none=True, exclude={"max_tokens", "max_completion_tokens", "seed", "extra_body"}
        )
        if self.temperature is None and self.top_p == 1.0:
            del given["top_p"]  # a model that takes no temperature takes none of this either
        if not self.stop:
            del given["stop"]
        name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        given[limit_name or name] = self.max_tokens
        if self.seed is not None and self.draws:  # greedy decoding draws nothing; some servers are slower with a seed
            given["seed"] = seed
        return given | (self.extra_body or {})

    def seed_of(self, prompts_own: int, sample_index: int = 0) -> int:
        """The seed of one of several answers to a prompt whose own seed is given: the next answer has the next seed."""
        first = self.seed if isinstance(self.seed, int) else prompts_own
        return first if sample_index == 0 else (first + sample_index) % 2**31

    def identity(self) -> dict[str, object]:
        """The values that change a whole answer: all but the limit of tokens."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"max_tokens", "max_completion_tokens"})


class Server(Strict):
    """The options with which a worker serves a teacher's model, where there is no `endpoint`."""

    kind: Literal["auto", "vllm", "transformers", "stub"] = Field(
        default="auto", description="auto: vllm where it is installed, else transformers; stub: no model, for tests"
    )
    dtype: Dtype = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    args: list[str] = Field(default=[], description="further arguments for the server")

    def identity(self) -> dict[str, object]:
        """The values that may change an answer: all but what only makes the server faster or smaller."""
        return self.model_dump(mode="json", exclude={"args", "max_model_len"}) | {"args": _telling(self.args)}


# Options of vLLM's server that change no answer. What is not known here may change one.
_HARMLESS = frozenset({
    "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens", "--swap-space", "--tensor-parallel-size",
    "--enable-prefix-caching", "--no-enable-prefix-caching", "--enable-chunked-prefill", "--no-enable-chunked-prefill",
    "--port", "--host", "--api-key", "--disable-log-requests", "--disable-log-stats", "--uvicorn-log-level",
})  # fmt: skip


def _telling(args: list[str]) -> list[str]:
    """The arguments without those that change no answer, and without their values."""
    told: list[str] = []
    skipping = False
    for arg in args:
        if arg.startswith("--"):
            skipping = arg.split("=", 1)[0] in _HARMLESS
        if not skipping:
            told.append(arg)
    return told


def named_by_model(given: Any) -> Any:
    """The section with the model's own name, without its folder or owner, where no `name` is given."""
    model = given.get("model") if isinstance(given, dict) else None
    if not isinstance(model, str) or "name" in given:
        return given
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", re.split(r"[/:]", model.rstrip("/"))[-1]).lstrip("._-")[:63]
    return {"name": name, **given} if name else given


class Teacher(Strict):
    name: Name = Field(default="", description="the model's, where none is given")
    family: str = Field(default="", min_length=1, description="none given: the name as far as its first dash")
    params_b: float | None = Field(default=None, gt=0, description="size in billions of parameters, where it is known")
    model: str | None = Field(
        default=None, min_length=1,
        description="a local folder, a Hugging Face name, or bundled:NAME; none: its answers are all imported",
    )  # fmt: skip
    revision: str | None = None
    system_prompt: str | None = None
    examples: list[Message] = Field(default=[], description="worked examples, put before the prompt's messages")
    sampling: Sampling = Sampling()
    samples: int = Field(
        default=1, ge=1, le=64, description="answers to each prompt that is routed to it; the best by reward is taken"
    )
    tools: bool = Field(default=False, description="whether it takes prompts with tools, and may call them")
    endpoint: Endpoint | None = None
    server: Server = Server()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        given = named_by_model(given)
        name = given.get("name") if isinstance(given, dict) else None
        return given if not isinstance(name, str) else {"family": name.partition("-")[0].lower() or name, **given}

    @model_validator(mode="after")
    def _has_a_name(self) -> "Teacher":
        if not self.name:
            raise ValueError("name: missing, and there is no model to name it by. Add this key")
        return self

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Teacher":
        roles = [message.role for message in self.examples]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("examples must alternate user and assistant, and end with assistant")
        if self.endpoint is not None and self.model is None:
            raise ValueError("an endpoint needs the model's name, as the endpoint knows it")
        return self

    @model_validator(mode="after")
    def _answers_may_differ(self) -> "Teacher":
        if self.samples > 1 and self.model is None:
            raise ValueError("samples: its answers are all imported, one to a prompt. Leave samples out")
        if self.samples > 1 and not self.sampling.varies:
            raise ValueError(
                f"samples: this sampling gives the same answer {self.samples} times. Set sampling.temperature above 0,"
                " and neither top_k: 1 nor a seed in extra_body; or leave samples out"
            )
        return self

    def needed_model(self) -> str:
        """The model's name. Raises ConfigError without one, because the teacher cannot be asked then."""
        if self.model is None:
            raise ConfigError(f"The teacher {self.name} has no model. Import its answers, or give it a model.")
        return self.model

    def identity(self) -> dict[str, object]:
        """The values that change its answers, and so make it the same teacher in another run.

        Labels, prices, the endpoint's address and what makes a server faster are none of them.
        """
        return self.but_for_the_limit() | {"max_tokens": self.sampling.max_tokens}

    def router_identity(self) -> dict[str, object]:
        """The identity, each value in its own place in the YAML."""
        sampling = self.sampling.identity() | {"max_tokens": self.sampling.max_tokens}
        return self.but_for_the_limit() | {"sampling": sampling}

    def but_for_the_limit(self) -> dict[str, object]:
        """The identity without the limit of tokens: teachers that share it give the same whole answers."""
        asked = self.model_dump(mode="json", include={"name", "model", "revision", "system_prompt", "examples"})
        server = None if self.endpoint is not None else self.server.identity()
        return asked | {"sampling": self.sampling.identity(), "server": server}


class Student(Strict):
    name: Name = Field(default="", description="the model's, where none is given")
    model: str = Field(min_length=1)
    revision: str | None = None
    family: str | None = None
    max_length: int = Field(default=2048, ge=16, description="tokens of prompt and answer that are scored")
    # Left out of what is stored and hashed where it is not given, so that older runs stay what they are.
    training: StudentTraining | None = Field(
        default=None, exclude_if=lambda given: given is None, description="how it is trained on the run's set"
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return named_by_model(given)

    def identity(self) -> dict[str, object]:
        """The values that change a score."""
        return self.model_dump(mode="json", exclude={"family", "training"})
