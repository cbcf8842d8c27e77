"""Asks one endpoint over HTTP: the worker's own server, or one that others run.

It is asked once: retries belong to the job table, which counts them. Every failure becomes a RequestFailed with a short
stable code, so that the jobs know whether another attempt can help. No message holds the endpoint's key.
"""

import asyncio
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai

from persyn.config import Endpoint
from persyn.errors import ConfigError, RequestFailed
from persyn.text import storable

MESSAGE_LIMIT = 500
CONNECT_TIMEOUT_S = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CONTEXT = re.compile(r"context[ _](length|window|size)|max_model_len|maximum model length", re.IGNORECASE)


class EndpointClient:
    """Many requests may be in flight at once: up to a thousand connections (the openai package's limit)."""

    def __init__(self, base_url: str, model: str, *, api_key: str | None, timeout_s: float) -> None:
        """`model` as the endpoint calls it; `timeout_s` bounds one request as a whole."""
        self.model = model
        self._api_key, self._timeout_s = api_key, timeout_s
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

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The body of a successful answer. Raises RequestFailed: a code of `classify`, `timeout` or `connection`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.post(path, cast_to=httpx.Response, body=body)
        except (TimeoutError, openai.APITimeoutError) as exc:
            raise self.failed("timeout", f"no answer within {self._timeout_s:g} s") from exc
        except openai.APIConnectionError as exc:
            raise self.failed("connection", f"{exc.__cause__ or exc}") from exc
        except openai.APIStatusError as exc:
            raise self._refused(exc) from exc
        return response.content

    async def aclose(self) -> None:
        await self._client.close()

    def failed(
        self, code: str, what: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> RequestFailed:
        """The failure of one request, to raise: it names model and server, and its key is masked."""
        message = storable(f"{self.model} at {self._server}: {what}")
        if self._api_key:
            message = message.replace(self._api_key, "***")
        return RequestFailed(code, message[:MESSAGE_LIMIT], permanent=permanent, retry_after_s=retry_after_s)

    def _refused(self, exc: openai.APIStatusError) -> RequestFailed:
        message = exc.body.get("message") if isinstance(exc.body, dict) else None
        code, permanent = classify(exc.status_code, f"{exc.code} {message}")
        wait = None if permanent else retry_after_s(exc.response.headers, time.time())
        what = f"HTTP {exc.status_code}: {message or exc.response.text}"
        return self.failed(code, what, permanent=permanent, retry_after_s=wait)


def classify(status: int, message: str) -> tuple[str, bool]:
    """The failure's code, and whether it is permanent, for an HTTP status and the server's own words.

    Permanent: `context_too_long`, `bad_request`, `refused_auth`, `model_not_found`; transient: `rate_limited`,
    `timeout`, `server_error`.
    """
    if status in (400, 413, 422):
        # vLLM has no code of its own for this, only a sentence.
        return ("context_too_long" if _CONTEXT.search(message) else "bad_request"), True
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


def read_key(endpoint: Endpoint, owner: str) -> str | None:
    """The endpoint's key from the environment; None where it needs none. `owner`: whose it is, for the sentence.

    Raises ConfigError where it is not set, or holds what no key can. The key itself stands in no message.
    """
    name = endpoint.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"{owner}: the environment variable {name}, which holds the key to {endpoint.url},"
            " is not set on this worker. Set it and start the worker again."
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{owner}: the environment variable {name} holds characters that no key can have. Set it to the key alone."
        )
    return key
