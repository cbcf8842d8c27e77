"""Asks one teacher over the OpenAI protocol, whoever serves it: our own vLLM server, or an endpoint elsewhere.

It asks once: retries belong to the job table, which counts them. Every failure becomes a GenerationFailed with a short
stable code, so that the jobs know whether another attempt can help.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from persyn.config import Sampling
from persyn.errors import GenerationFailed

MESSAGE_LIMIT = 500
CONNECT_TIMEOUT_S = 10.0
TIMEOUT_S = 600.0
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_CONTEXT = re.compile(r"context[ _](length|window|size)|max_model_len|maximum model length", re.IGNORECASE)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Answer(NamedTuple):
    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    latency_s: float


def storable(text: str) -> str:
    """NUL and lone surrogates, which Postgres cannot store, become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


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


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class TeacherClient:
    """Many `generate` calls may be in flight at once: up to a thousand connections (the openai package's limit)."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None = None, timeout_s: float = TIMEOUT_S,
        for_transformers: bool = False,
    ) -> None:  # fmt: skip
        """`base_url` ends in /v1 as a rule; `timeout_s` bounds one request as a whole.

        `for_transformers`: whether `transformers serve` answers, which needs to be told more (see `_request`).
        """
        self._for_transformers = for_transformers
        self.model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        url = urlsplit(base_url)
        self._server = f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")
        timeout = openai.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # the package wants one, and would take the environment's
            max_retries=0,
            # The machine's proxy settings must not apply to the loopback device.
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, trust_env=url.hostname not in LOOPBACK),
        )

    async def generate(
        self, messages: list[dict[str, str]], sampling: Sampling, seed: int, response_format: Any | None = None
    ) -> Answer:
        """One answer to one conversation. An empty text is an answer too.

        Raises GenerationFailed, permanent with the codes `context_too_long`, `bad_request`, `refused_auth` and
        `model_not_found`; transient with `rate_limited`, `server_error`, `timeout`, `connection` and `garbage`.
        """
        request = self._request(messages, sampling, seed)
        if response_format is not None:
            request["response_format"] = response_format
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(**request)
        except (TimeoutError, openai.APITimeoutError) as exc:
            raise self._failed("timeout", f"no answer within {self._timeout_s:g} s") from exc
        except openai.APIConnectionError as exc:
            raise self._failed("connection", f"{exc.__cause__ or exc}") from exc
        except openai.APIStatusError as exc:
            raise self._refused(exc) from exc
        return self._read(response.http_response.content, time.monotonic() - began)

    async def aclose(self) -> None:
        await self._client.close()

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
            own = {"do_sample": sampling.temperature > 0, "top_k": 0, "repetition_penalty": 1.0} | drawn
            request["extra_body"] = {"generation_config": json.dumps(own)}
            if not drawn:
                del request["temperature"], request["top_p"]
        return request

    def _read(self, body: bytes, latency_s: float) -> Answer:
        try:
            completion = _Completion.model_validate(json.loads(body))
        except ValidationError as exc:
            wrong = exc.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise self._failed("garbage", f"not a chat completion: {where}: {wrong['msg']}: {body[:200]!r}") from exc
        except (ValueError, RecursionError) as exc:
            raise self._failed("garbage", f"the answer is not JSON: {body[:200]!r}") from exc
        message = completion.choices[0].message
        usage = completion.usage or _Usage()
        return Answer(
            text=message.content or "",
            reasoning=message.reasoning or message.reasoning_content,
            finish_reason=completion.choices[0].finish_reason or "unknown",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            latency_s=latency_s,
        )

    def _refused(self, exc: openai.APIStatusError) -> GenerationFailed:
        said = exc.body.get("message") if isinstance(exc.body, dict) else None
        code, permanent = classify(exc.status_code, f"{exc.code} {said}")
        retry_after = None if permanent else retry_after_s(exc.response.headers, time.time())
        what = f"HTTP {exc.status_code}: {said or exc.response.text}"
        return self._failed(code, what, permanent=permanent, retry_after=retry_after)

    def _failed(
        self, code: str, what: str, *, permanent: bool = False, retry_after: float | None = None
    ) -> GenerationFailed:
        message = storable(f"{self.model} at {self._server}: {what}")
        if self._api_key:
            message = message.replace(self._api_key, "***")
        return GenerationFailed(code, message[:MESSAGE_LIMIT], permanent=permanent, retry_after=retry_after)


def classify(status: int, said: str) -> tuple[str, bool]:
    """The failure's code, and whether it is permanent, for an HTTP status and the server's own words."""
    if status in (400, 413, 422):
        # vLLM has no code of its own for this, only a sentence.
        return ("context_too_long" if _CONTEXT.search(said) else "bad_request"), True
    if status in (401, 403):
        return "refused_auth", True
    if status == 404:
        return "model_not_found", True
    if status == 429:
        return "rate_limited", False
    if status == 408:
        return "timeout", False
    if status >= 500 or status in (409, 425):
        return "server_error", False
    return "bad_request", True


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The header's seconds, or its date as seconds after `now` (Unix time); None where it is absent or unreadable."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - now
    except ValueError:
        return None
    return max(0.0, seconds)
