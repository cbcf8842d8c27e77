"""How fast one teacher may be asked, and what a failure says about its endpoint.

A server of our own takes as many requests as a claim may hold. An endpoint that someone else runs has limits of its
own: its pace is found by trying, its budgets are kept, and its wishes to wait hold for all requests. What is the
endpoint's fault pauses the queue and spends no job's attempt.
"""

import time
from urllib.parse import urlsplit

import httpx

from persyn.config import Endpoint
from persyn.errors import GenerationFailed, PersynError
from persyn.inference.clients.adaptive_limit import Backoff, Limiter
from persyn.inference.clients.chat_completions import LOOPBACK
from persyn.inference.clients.rate_limits import Budget, Rates

# A wait longer than this is not sat out in the drain: the queue is paused and the worker turns to its others.
PATIENCE_S = 30.0
# So many failures in a row, and not one answer: whatever the endpoint says of itself, it does not work.
DOWN_AFTER = 8
# A refused key or model needs a person, who may mend it at the endpoint: so it is tried again, but seldom.
REFUSED_S = 300.0
REFUSALS_AT_MOST = 20
_NEEDS_A_PERSON = ("refused_auth", "model_not_found")
_MAY_BE_DOWN = ("connection", "server_error", "timeout", "garbage")
ENDPOINTS_FAULT = frozenset((*_NEEDS_A_PERSON, *_MAY_BE_DOWN, "rate_limited"))
_PROBE_TIMEOUT_S = 10.0


class TeacherPaused(PersynError):
    """The queue is to be held back for `seconds`; whatever is claimed goes back unspent, with this as the reason.

    `spends` says that the failure which led to this may be the prompt's all the same, so that it costs an attempt.
    """

    def __init__(self, message: str, seconds: float, *, spends: bool = False) -> None:
        super().__init__(message)
        self.seconds, self.spends = seconds, spends


class Pace:
    """Of one endpoint, in one worker; outlives the drains, so that a wait that grows goes on growing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(endpoint.concurrency)
        self.budget = Budget(Rates(endpoint.requests_per_minute, endpoint.tokens_per_minute), time.monotonic())
        self._down = Backoff()
        self._refused = Backoff(first_s=1.0, cap_s=60.0)
        self._failed_in_a_row = 0
        self._mending = False  # paused before: one request at a time until an answer comes

    @property
    def limit(self) -> int:
        return 1 if self._mending else self.limiter.limit

    def answered(self, sent_at: float, tokens: int) -> None:
        now = time.monotonic()
        self.limiter.answered(sent_at, now)
        self.budget.used(tokens, now)
        self._down.worked()
        self._refused.worked()
        self._failed_in_a_row, self._mending = 0, False

    def failed(self, failure: GenerationFailed, sent_at: float) -> TeacherPaused | None:
        """Learn from a failure; a reason to pause where it is the endpoint's and not the prompt's. Blocks for a probe.

        A refusal for want of capacity (429) only slows down, unless its wait is too long to be sat out.
        """
        now = time.monotonic()
        if failure.code in _NEEDS_A_PERSON:
            return self._pause(str(failure), REFUSED_S)
        if failure.code == "rate_limited":
            # Sixty that are refused at once are one refusal.
            self.limiter.refused(sent_at, now)
            if self.budget.wait_s(now) == 0.0 or failure.retry_after is not None:
                self.budget.close_for(self._wait(failure), now)
            wait = self.budget.wait_s(now)
            return self._pause(f"{failure} It is asked again after {wait:.0f} s.", wait) if wait > PATIENCE_S else None
        if failure.code not in _MAY_BE_DOWN:
            return None
        if failure.code == "timeout" or failure.retry_after is not None:
            self.limiter.refused(sent_at, now)
        self._failed_in_a_row += 1
        there = self._answers()
        if there and self._failed_in_a_row < DOWN_AFTER:
            return None
        wait = max(self._down.failed(), failure.retry_after or 0.0)
        state = f"failed {self._failed_in_a_row} times in a row" if there else "is down"
        self._mending = True
        return TeacherPaused(
            f"{failure} The endpoint {state}; it is asked again after {wait:.0f} s.", wait, spends=there
        )

    def _wait(self, failure: GenerationFailed) -> float:
        return self._refused.failed() if failure.retry_after is None else failure.retry_after

    def _pause(self, reason: str, seconds: float) -> TeacherPaused:
        self._mending = True
        return TeacherPaused(reason, seconds)

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
