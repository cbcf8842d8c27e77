"""Quality by a reward model that a vLLM pooling server holds (`vllm serve MODEL --runner pooling`).

It asks once, as TeacherClient does, and fails in the same words: retries belong to the job table.
"""

import asyncio
import json
import time
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from persyn.errors import GenerationFailed
from persyn.inference.clients.chat_completions import (
    CONNECT_TIMEOUT_S,
    LOOPBACK,
    MESSAGE_LIMIT,
    classify,
    retry_after_s,
    storable,
)


class _Scored(BaseModel):
    probs: list[float] = Field(min_length=1)  # not probabilities: the head's own numbers, as we ask for no activation


class _Response(BaseModel):
    data: Annotated[list[_Scored], Field(min_length=1, max_length=1)]


class PoolingClient:
    """Many `score` calls may be in flight at once."""

    def __init__(self, url: str, model: str, *, api_key: str | None = None, timeout_s: float = 120.0) -> None:
        """`url` with or without /v1; `model` as the server knows it; `timeout_s` bounds one request as a whole."""
        self._model, self._api_key, self._timeout_s = model, api_key, timeout_s
        self._url = f"{url.rstrip('/').removesuffix('/v1')}/classify"
        parts = urlsplit(url)
        self._server = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            trust_env=parts.hostname not in LOOPBACK,
        )

    async def score(self, ids: list[int]) -> float:
        """The head's raw number for one conversation. It may be no finite one.

        Raises GenerationFailed with the codes of `TeacherClient.generate`, and `not_a_reward_model` (permanent).
        """
        request = {"model": self._model, "input": [ids], "use_activation": False, "add_special_tokens": False}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post(self._url, json=request)
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise self._failed("timeout", f"no answer within {self._timeout_s:g} s") from exc
        except httpx.TransportError as exc:
            raise self._failed("connection", f"{exc or type(exc).__name__}") from exc
        if not response.is_success:
            raise self._refused(response)
        return self._read(response.content)

    async def aclose(self) -> None:
        await self._http.aclose()

    def _read(self, body: bytes) -> float:
        try:
            values = _Response.model_validate(json.loads(body)).data[0].probs
        except (ValidationError, ValueError, RecursionError) as exc:
            raise self._failed("garbage", f"not a classification: {body[:200]!r}") from exc
        if len(values) != 1:
            raise self._failed("not_a_reward_model", f"it gives {len(values)} numbers, not one", permanent=True)
        return values[0]

    def _refused(self, response: httpx.Response) -> GenerationFailed:
        said = _said(response)
        code, permanent = classify(response.status_code, said)
        retry_after = None if permanent else retry_after_s(response.headers, time.time())
        return self._failed(code, f"HTTP {response.status_code}: {said}", permanent=permanent, retry_after=retry_after)

    def _failed(
        self, code: str, what: str, *, permanent: bool = False, retry_after: float | None = None
    ) -> GenerationFailed:
        message = storable(f"{self._model} at {self._server}: {what}")
        if self._api_key:
            message = message.replace(self._api_key, "***")
        return GenerationFailed(code, message[:MESSAGE_LIMIT], permanent=permanent, retry_after=retry_after)


def _said(response: httpx.Response) -> str:
    """The server's own words for its refusal."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return response.text
