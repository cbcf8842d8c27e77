"""Who answers and who learns: teachers, how they are asked and served, and the student."""

from typing import Literal

from pydantic import Field, model_validator

from persyn.config.strict import Name, Strict


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Strict):
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(default=1024, ge=1)
    stop: list[str] = Field(default=[])


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


class Student(Strict):
    name: Name
    model: str = Field(min_length=1)
    revision: str | None = None
    family: str | None = None
    max_length: int = Field(default=2048, ge=16, description="tokens of prompt and answer that are scored")
