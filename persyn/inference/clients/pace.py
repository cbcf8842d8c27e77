"""Tells how fast one endpoint may be asked, and for how long it is to be left alone.

Its pace is found by trying, its rate limits are kept, and its wishes to wait hold for all requests. What is the
endpoint's own fault, as `evidence` shows, holds it back and spends no job's attempt.
"""

import time
from urllib.parse import urlsplit

import httpx

from persyn.config import Endpoint
from persyn.errors import EndpointPaused, RequestFailed
from persyn.inference.clients.adaptive_limit import Limiter
from persyn.inference.clients.endpoint import LOOPBACK
from persyn.inference.clients.evidence import Evidence
from persyn.inference.clients.rate_limits import RateLimit, Rates
from persyn.waits import Backoff, bounded

# A longer wait than this is not sat out: the endpoint is paused and the worker turns to its other queues.
PATIENCE_S = 30.0
# A refused key or model needs a person, who may mend it at the endpoint: so it is tried again, but seldom.
REFUSED_S = 300.0
NEEDS_A_PERSON = frozenset(("refused_auth", "model_not_found", "out_of_credit", "bad_request"))
MAY_BE_DOWN = frozenset(("connection", "server_error", "timeout", "garbage"))
# Who sends garbage is there.
MAY_BE_GONE = MAY_BE_DOWN - {"garbage"}
NO_ANSWER = "It answers no request, so no prompt is at fault."
_PROBE_TIMEOUT_S = 10.0


class Pace:
    """The pace of one endpoint in one worker. It outlives the drains, so that a growing wait goes on growing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(endpoint.concurrency)
        self.evidence = Evidence()
        self.rate_limit = RateLimit(Rates(endpoint.requests_per_minute, endpoint.tokens_per_minute), time.monotonic())
        self._down = Backoff()
        self._refused = Backoff(first_s=1.0, cap_s=60.0)
        self._mending = False  # paused before: one request at a time until an answer comes
        self._paused_until = 0.0

    @property
    def limit(self) -> int:
        """The number of requests that may be in flight."""
        return 1 if self._mending else self.limiter.limit

    def answered(self, sent_at: float, tokens: int) -> None:
        """Learn from an answer to a request sent at `sent_at` (monotonic seconds)."""
        now = time.monotonic()
        self.limiter.answered(sent_at, now)
        self.evidence.answered(sent_at)
        self.rate_limit.used(tokens, now)
        self._down.worked()
        self._refused.worked()
        self._mending = False

    def slow_down(self, failure: RequestFailed, sent_at: float) -> EndpointPaused | None:
        """Learn from a refusal for want of room (429); a pause where its wait is too long to be sat out."""
        now = time.monotonic()
        self.limiter.refused(sent_at, now)
        # Sixty that are refused at once are one refusal.
        if self.rate_limit.wait_s(now) == 0.0 or failure.retry_after_s is not None:
            wait = self._refused.failed() if failure.retry_after_s is None else bounded(failure.retry_after_s)
            self.rate_limit.close_for(wait, now)
        wait = self.rate_limit.wait_s(now)
        return self.pause(f"{failure} It is asked again after {wait:.0f} s.", wait) if wait > PATIENCE_S else None

    def held_back(self, failure: RequestFailed, *, there: bool) -> EndpointPaused:
        """The pause for a failure that is the endpoint's fault. `there`: it answers, though not as it should."""
        if failure.code in NEEDS_A_PERSON:
            return self.pause(f"{failure} {NO_ANSWER}", REFUSED_S)
        wait = max(self._down.failed(), bounded(failure.retry_after_s or 0.0))
        state = "answers no request" if there else "is down"
        return self.pause(f"{failure} The endpoint {state}; it is asked again after {wait:.0f} s.", wait)

    def pause(self, reason: str, seconds: float) -> EndpointPaused:
        """The endpoint is to be left alone for so long, an hour at most."""
        self._mending = True
        self.evidence.held_back()
        self._paused_until = time.monotonic() + bounded(seconds)
        return EndpointPaused(reason, bounded(seconds))

    def opened(self) -> None:
        """Forget a wait that was a pause: the queue is open before its time, so somebody resumed it."""
        if time.monotonic() < self._paused_until:
            self._paused_until = 0.0
            self.rate_limit.reopen()
            self._down.worked()
            self._refused.worked()

    def met_trouble(self, failure: RequestFailed, sent_at: float) -> None:
        """Slow down where the endpoint took too long or asks for time."""
        if failure.code == "timeout" or failure.retry_after_s is not None:
            self.limiter.refused(sent_at, time.monotonic())

    def is_there(self) -> bool:
        """Whether the endpoint answers at all: an error of its own for one prompt does not take it down. Blocks."""
        url = f"{self.endpoint.url.rstrip('/')}/models"
        # The machine's proxy settings apply as they do to the requests themselves.
        proxied = urlsplit(url).hostname not in LOOPBACK
        try:
            response = httpx.get(url, timeout=_PROBE_TIMEOUT_S, trust_env=proxied)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return response.status_code < 500 or response.status_code == httpx.codes.NOT_IMPLEMENTED


class Paces:
    """The paces of all endpoints that one worker asks, by who asks them there: a teacher, or a scorer."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def of(self, owner: str, endpoint: Endpoint) -> Pace:
        """The owner's pace, begun anew where its endpoint's address or limits changed."""
        pace = self._paces.get(owner)
        if pace is None or pace.endpoint != endpoint:
            pace = self._paces[owner] = Pace(endpoint)
        return pace
