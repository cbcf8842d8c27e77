"""Asks one endpoint over HTTP: the worker's own server, or one that others run.

It is asked once: retries belong to the job table, which counts them. Every failure becomes a RequestFailed with a short
stable code, so that the jobs know whether another attempt can help.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import httpx

from persyn import counters, secrets
from persyn.errors import RequestFailed
from persyn.inference.clients.refusals import Refusal, refusal
from persyn.text import quoted

MESSAGE_LIMIT = 500
CONNECT_TIMEOUT_S = 10.0
# A server that asks for a longer wait is asked again all the same: it may mean a date, or milliseconds.
RETRY_AFTER_AT_MOST_S = 3600.0
REFUSAL_BYTES = 64 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")
CONNECTIONS = 1000
SHOWN_BYTES = 4096


class JsonResponse(NamedTuple):
    """A success: its HTTP status and the JSON object that came with it."""

    status: int
    body: dict[str, Any]


class EndpointClient:
    """Many requests may be in flight at once."""

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None, timeout_s: float,
        headers: Mapping[str, str] | None = None, teacher: str = "", is_own: bool = False,
    ) -> None:  # fmt: skip
        """`model` as the endpoint calls it; `timeout_s` bounds one request as a whole; `headers` win over the key's.

        `teacher` and `is_own`, a server of this worker's, are for the metrics.
        """
        secrets.know(api_key or "")
        self.model = model
        self._timeout_s = timeout_s
        self._url = urlsplit(base_url)
        self._server = f"{self._url.scheme}://{self._url.hostname}" + (f":{self._url.port}" if self._url.port else "")
        self._counted_as = counters.OWN_SERVER if is_own else self._server, teacher
        sent = httpx.Headers({} if api_key is None else {"Authorization": f"Bearer {api_key}"})
        sent.update(headers)
        self._http = httpx.AsyncClient(
            headers=sent,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=100),
            follow_redirects=True,
            # The machine's proxy settings must not apply to the loopback device.
            trust_env=self._url.hostname not in LOOPBACK,
        )

    async def post(self, path: str, body: Mapping[str, Any], *, at_most: int) -> JsonResponse:
        """The answer, of `at_most` bytes.

        Raises RequestFailed: a code of `refusals`, `timeout`, `connection`, `garbage` for what is no JSON object, and
        `answer_too_large` (permanent).
        """
        began = time.monotonic()
        try:
            answer = await self._post(path, body, at_most)
        except RequestFailed as exc:
            counters.requested(*self._counted_as, exc.code, time.monotonic() - began)
            raise
        counters.requested(*self._counted_as, "ok", time.monotonic() - began)
        return answer

    async def _post(self, path: str, body: Mapping[str, Any], at_most: int) -> JsonResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                response, content = await self._exchange(path, body, at_most)
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise self.failed("timeout", f"no answer within {self._timeout_s:g} s") from exc
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            raise self.failed("connection", f"{exc}" or type(exc).__name__) from exc
        return self._read(response, content, at_most)

    async def _exchange(self, path: str, body: Mapping[str, Any], at_most: int) -> tuple[httpx.Response, bytes]:
        """The response and what was read of it: one byte more than allowed where it is longer."""
        url = urlunsplit(self._url._replace(path=self._url.path.rstrip("/") + path))
        async with self._http.stream("POST", url, json=dict(body)) as response:
            allowed = at_most if response.is_success else REFUSAL_BYTES
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > allowed:
                    break
            return response, bytes(content[: allowed + 1])

    def _read(self, response: httpx.Response, content: bytes, at_most: int) -> JsonResponse:
        status = response.status_code
        if response.is_success and len(content) > at_most:
            message = f"HTTP {status}: the answer is longer than {at_most} bytes, more than max_tokens can fill"
            raise self.failed("answer_too_large", message, permanent=True)
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        refused = refusal(status, body, content)
        if refused is not None:
            raise self.refused(refused, status, response.headers)
        if not isinstance(body, dict):
            raise self.failed("garbage", f"HTTP {status}: the answer is no JSON object: {shown(content)}")
        return JsonResponse(status, body)

    async def aclose(self) -> None:
        await self._http.aclose()

    def failed(
        self, code: str, what: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> RequestFailed:
        """The failure of one request, to raise: it names model and server."""
        message = quoted(f"{self.model} at {self._server}: {what}", MESSAGE_LIMIT)
        return RequestFailed(code, message, permanent=permanent, retry_after_s=retry_after_s)

    def refused(self, refused: Refusal, status: int, headers: Mapping[str, str] | None = None) -> RequestFailed:
        """The failure that a server's own words make."""
        wait = None if refused.permanent else retry_after_s(headers or {}, time.time())
        said = f" (it says {refused.status})" if refused.status != status else ""
        what = f"HTTP {status}{said}: {refused.message}"
        return self.failed(refused.code, what, permanent=refused.permanent, retry_after_s=wait)


def shown(content: bytes) -> str:
    """The beginning of a body that is none of this protocol."""
    return repr(quoted(content[:SHOWN_BYTES].decode("utf-8", "replace"), 200))


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The header's seconds, or its date as seconds after `now` (Unix time), an hour at most; None where unread."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    if math.isinf(seconds):  # 1e999 is no wait: the endpoint would be left alone for an hour for nothing
        return None
    return min(max(0.0, seconds), RETRY_AFTER_AT_MOST_S)
