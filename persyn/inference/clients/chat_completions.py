"""Asks for one answer to one conversation over the OpenAI protocol."""

import json
import time
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from persyn.config import Sampling
from persyn.inference.clients.endpoint import EndpointClient
from persyn.text import storable

TIMEOUT_S = 600.0


class Completion(NamedTuple):
    """One answer, and what it took."""

    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    latency_s: float


Text = Annotated[str, BeforeValidator(lambda value: storable(value) if isinstance(value, str) else value)]


class _Message(BaseModel):
    content: Text | None = None
    reasoning: Text | None = None
    reasoning_content: Text | None = None  # the same under its older name


class _Choice(BaseModel):
    message: _Message
    finish_reason: Text | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Response(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class TeacherClient(EndpointClient):
    """A client of one teacher's chat completions."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None = None, timeout_s: float = TIMEOUT_S,
        for_transformers: bool = False,
    ) -> None:  # fmt: skip
        """`base_url` ends in /v1 as a rule. `for_transformers`: `transformers serve` answers, which is told more."""
        super().__init__(base_url, model, api_key=api_key, timeout_s=timeout_s)
        self._for_transformers = for_transformers

    async def generate(
        self, messages: list[dict[str, str]], sampling: Sampling, seed: int, response_format: Any | None = None
    ) -> Completion:
        """One answer to one conversation. An empty text is an answer too.

        Raises RequestFailed as `post` does, and `garbage` (transient) for what is no chat completion.
        """
        request = self._request(messages, sampling, seed)
        if response_format is not None:
            request["response_format"] = response_format
        began = time.monotonic()
        body = await self.post("/chat/completions", request)
        return self._read(body, time.monotonic() - began)

    def _request(self, messages: list[dict[str, str]], sampling: Sampling, seed: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.stop:
            request["stop"] = sampling.stop
        if sampling.temperature > 0:  # greedy decoding draws nothing, and some servers are slower with a seed
            request["seed"] = seed
        if self._for_transformers:
            # It never samples unless it is told so in this form, and then fills gaps from the model author's defaults.
            drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p} if sampling.temperature > 0 else {}
            config = {"do_sample": sampling.temperature > 0, "top_k": 0, "repetition_penalty": 1.0} | drawn
            request["generation_config"] = json.dumps(config)
            if not drawn:
                del request["temperature"], request["top_p"]
        return request

    def _read(self, body: bytes, latency_s: float) -> Completion:
        try:
            response = _Response.model_validate(json.loads(body))
        except ValidationError as exc:
            wrong = exc.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise self.failed("garbage", f"not a chat completion: {where}: {wrong['msg']}: {body[:200]!r}") from exc
        except (ValueError, RecursionError) as exc:
            raise self.failed("garbage", f"the answer is not JSON: {body[:200]!r}") from exc
        message = response.choices[0].message
        usage = response.usage or _Usage()
        return Completion(
            text=message.content or "",
            reasoning=message.reasoning or message.reasoning_content,
            finish_reason=response.choices[0].finish_reason or "unknown",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            latency_s=latency_s,
        )
