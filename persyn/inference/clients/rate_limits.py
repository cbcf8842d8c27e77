"""Token buckets for the requests and tokens a minute that an endpoint allows. Pure: the caller tells the time.

A bucket may go below zero, because the tokens of an answer are known only when it is there: one answer overdraws, and
later requests wait until the debt is paid. So the rate holds over any longer time, which is how endpoints count too.
"""

from typing import NamedTuple

MINUTE_S = 60.0


class Bucket:
    """Fills evenly with `per_minute`, up to `burst` (default: ten seconds' worth, at least one)."""

    def __init__(self, per_minute: float, now: float, *, burst: float | None = None) -> None:
        self._rate = per_minute / MINUTE_S
        self._size = max(1.0, per_minute / 6) if burst is None else burst
        self._level = self._size
        self._at = now

    def take(self, amount: float, now: float) -> None:
        """Spend; a negative amount gives back what was reserved and not used."""
        self._fill(now)
        self._level = min(self._size, self._level - amount)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there, or as much as the bucket holds where that is less; 0 means now."""
        self._fill(now)
        missing = min(amount, self._size) - self._level
        return 0.0 if missing <= 1e-9 else missing / self._rate

    def _fill(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)  # a clock that stands still or goes back fills nothing
        self._level = min(self._size, self._level + elapsed * self._rate)
        self._at = max(self._at, now)


class Rates(NamedTuple):
    """Limits per minute; None is none."""

    requests: float | None = None
    tokens: float | None = None


class RateLimit:
    """Both limits of one endpoint in one worker, and a wait that the server itself asked for."""

    def __init__(self, rates: Rates, now: float) -> None:
        self._requests = None if rates.requests is None else Bucket(rates.requests, now)
        self._tokens = None if rates.tokens is None else Bucket(rates.tokens, now)
        self._closed_until = now

    def wait_s(self, now: float) -> float:
        """Seconds until one more request may leave."""
        waits = [self._closed_until - now]
        if self._requests is not None:
            waits.append(self._requests.wait_s(1.0, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait_s(1.0, now))
        return max(0.0, *waits)

    def sent(self, now: float) -> None:
        """Count a request."""
        if self._requests is not None:
            self._requests.take(1.0, now)

    def used(self, tokens: int, now: float) -> None:
        """Count an answer's tokens, read and written."""
        if self._tokens is not None:
            self._tokens.take(float(tokens), now)

    def close_for(self, seconds: float, now: float) -> None:
        """Wait as the server's Retry-After asks: it holds for all requests, not for the refused one alone."""
        self._closed_until = max(self._closed_until, now + seconds)

    def reopen(self) -> None:
        """Forget what the server asked for: an operator knows better."""
        self._closed_until = 0.0
