"""The teachers, how they are asked and served, and the student."""

from typing import Literal

from pydantic import Field, model_validator

from persyn.config.strict import Dtype, Name, Strict
from persyn.errors import ConfigError


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Strict):
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(default=1024, ge=1)
    stop: list[str] = Field(default=[])


class Price(Strict):
    """An endpoint's prices, in one currency of your choice; the audit view `cost` multiplies them by the tokens."""

    input: float = Field(ge=0.0, description="per million prompt tokens")
    output: float = Field(ge=0.0, description="per million completion tokens")


class Endpoint(Strict):
    """A server that PerSyn does not start; its API key stays in the environment."""

    url: str = Field(pattern=r"^https?://")
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    concurrency: int = Field(default=64, ge=1, le=512, description="the most requests in flight from one worker")
    requests_per_minute: float | None = Field(default=None, gt=0.0, description="by one worker")
    tokens_per_minute: float | None = Field(default=None, gt=0.0, description="read and written, by one worker")
    price: Price | None = None

    def identity(self) -> dict[str, object]:
        """The values without prices and limits, which do not change an answer."""
        return self.model_dump(mode="json", include={"url", "api_key_env"})


class Server(Strict):
    """The options with which a worker serves a teacher's model, where there is no `endpoint`."""

    kind: Literal["auto", "vllm", "transformers", "stub"] = Field(
        default="auto", description="auto: vllm where it is installed, else transformers; stub: no model, for tests"
    )
    dtype: Dtype = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    args: list[str] = Field(default=[], description="further arguments for the server")


class Teacher(Strict):
    name: Name
    family: str = Field(min_length=1)
    params_b: float | None = Field(default=None, gt=0, description="size in billions of parameters, where it is known")
    model: str | None = Field(
        default=None, min_length=1,
        description="a local folder, a Hugging Face name, or bundled:NAME; none: its answers are all imported",
    )  # fmt: skip
    revision: str | None = None
    system_prompt: str | None = None
    examples: list[Message] = Field(default=[], description="worked examples, put before the prompt's messages")
    sampling: Sampling = Sampling()
    endpoint: Endpoint | None = None
    server: Server = Server()

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Teacher":
        roles = [message.role for message in self.examples]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("examples must alternate user and assistant, and end with assistant")
        if self.endpoint is not None and self.model is None:
            raise ValueError("an endpoint needs the model's name, as the endpoint knows it")
        return self

    def needed_model(self) -> str:
        """The model's name. Raises ConfigError without one, because the teacher cannot be asked then."""
        if self.model is None:
            raise ConfigError(f"The teacher {self.name} has no model. Import its answers, or give it a model.")
        return self.model

    def identity(self) -> dict[str, object]:
        """The values that make it the same teacher in another run."""

        config = self.model_dump(mode="json")
        return config | {"endpoint": self.endpoint and self.endpoint.identity()}


class Student(Strict):
    name: Name
    model: str = Field(min_length=1)
    revision: str | None = None
    family: str | None = None
    max_length: int = Field(default=2048, ge=16, description="tokens of prompt and answer that are scored")

    def identity(self) -> dict[str, object]:
        return self.model_dump(mode="json")
