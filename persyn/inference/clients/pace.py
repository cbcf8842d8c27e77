"""Tells how fast one endpoint may be asked, and whether a failure is the endpoint's fault.

Its pace is found by trying, its rate limits are kept, and its wishes to wait hold for all requests. A failure that is
the endpoint's fault pauses the endpoint and spends no job's attempt.
"""

import time
from urllib.parse import urlsplit

import httpx

from persyn.config import Endpoint
from persyn.errors import EndpointPaused, RequestFailed
from persyn.inference.clients.adaptive_limit import Backoff, Limiter
from persyn.inference.clients.endpoint import LOOPBACK
from persyn.inference.clients.rate_limits import RateLimit, Rates

# A longer wait than this is not sat out: the endpoint is paused and the worker turns to its other queues.
PATIENCE_S = 30.0
# After so many failures in a row and no answer the endpoint does not work, whatever it says of itself.
DOWN_AFTER = 8
# A refused key or model needs a person, who may mend it at the endpoint: so it is tried again, but seldom.
REFUSED_S = 300.0
_NEEDS_A_PERSON = ("refused_auth", "model_not_found", "out_of_credit")
_MAY_BE_DOWN = ("connection", "server_error", "timeout", "garbage")
ENDPOINTS_FAULT = frozenset((*_NEEDS_A_PERSON, *_MAY_BE_DOWN, "rate_limited"))
_PROBE_TIMEOUT_S = 10.0


class Pace:
    """The pace of one endpoint in one worker. It outlives the drains, so that a growing wait goes on growing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(endpoint.concurrency)
        self.rate_limit = RateLimit(Rates(endpoint.requests_per_minute, endpoint.tokens_per_minute), time.monotonic())
        self._down = Backoff()
        self._refused = Backoff(first_s=1.0, cap_s=60.0)
        self._failed_in_a_row = 0
        self._mending = False  # paused before: one request at a time until an answer comes

    @property
    def limit(self) -> int:
        """The number of requests that may be in flight."""
        return 1 if self._mending else self.limiter.limit

    def answered(self, sent_at: float, tokens: int) -> None:
        """Learn from an answer to a request sent at `sent_at` (monotonic seconds)."""
        now = time.monotonic()
        self.limiter.answered(sent_at, now)
        self.rate_limit.used(tokens, now)
        self._down.worked()
        self._refused.worked()
        self._failed_in_a_row, self._mending = 0, False

    def failed(self, failure: RequestFailed, sent_at: float) -> EndpointPaused | None:
        """Learn from a failure; a reason to pause where it is the endpoint's fault and not the prompt's.

        A refusal for want of capacity (429) only slows down, unless its wait is too long to be sat out. Blocks for a
        probe.
        """
        now = time.monotonic()
        if failure.code in _NEEDS_A_PERSON:
            return self._pause(str(failure), REFUSED_S)
        if failure.code == "rate_limited":
            return self._slow_down(failure, sent_at, now)
        if failure.code not in _MAY_BE_DOWN:
            return None
        if failure.code == "timeout" or failure.retry_after_s is not None:
            self.limiter.refused(sent_at, now)
        self._failed_in_a_row += 1
        there = self._answers()
        if there and self._failed_in_a_row < DOWN_AFTER:
            return None
        wait = max(self._down.failed(), failure.retry_after_s or 0.0)
        state = f"failed {self._failed_in_a_row} times in a row" if there else "is down"
        return self._pause(f"{failure} The endpoint {state}; it is asked again after {wait:.0f} s.", wait, spends=there)

    def _slow_down(self, failure: RequestFailed, sent_at: float, now: float) -> EndpointPaused | None:
        self.limiter.refused(sent_at, now)
        # Sixty that are refused at once are one refusal.
        if self.rate_limit.wait_s(now) == 0.0 or failure.retry_after_s is not None:
            wait = self._refused.failed() if failure.retry_after_s is None else failure.retry_after_s
            self.rate_limit.close_for(wait, now)
        wait = self.rate_limit.wait_s(now)
        return self._pause(f"{failure} It is asked again after {wait:.0f} s.", wait) if wait > PATIENCE_S else None

    def _pause(self, reason: str, seconds: float, *, spends: bool = False) -> EndpointPaused:
        self._mending = True
        return EndpointPaused(reason, seconds, spends=spends)

    def _answers(self) -> bool:
        """Whether the endpoint is there at all: an error of its own for one prompt does not take it down."""
        url = f"{self.endpoint.url.rstrip('/')}/models"
        # The machine's proxy settings apply as they do to the requests themselves.
        proxied = urlsplit(url).hostname not in LOOPBACK
        try:
            response = httpx.get(url, timeout=_PROBE_TIMEOUT_S, trust_env=proxied)
        except httpx.HTTPError:
            return False
        return response.status_code < 500
