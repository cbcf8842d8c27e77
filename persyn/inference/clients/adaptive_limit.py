"""Finds by trying how many requests an endpoint takes at once, as TCP does (AIMD).

Every answer adds a little; a 429, or an answer much slower than usual, halves the limit. One round of requests counts
as one bad sign, because the sixty that were in flight all meet the same limit. Pure: the caller tells the time.
"""

START = 8.0
SHRINK = 0.5
SLOW_FACTOR = 4.0
_SMOOTH = 0.05
_LEARN_FROM = 20  # answers before their latency says anything


class Limiter:
    """`limit` requests may be in flight at once, between 1 and `most`."""

    def __init__(self, most: int, *, start: float = START) -> None:
        self._most = float(most)
        self._limit = min(max(1.0, start), self._most)
        self._usual: float | None = None
        self._answers = 0
        self._shrunk_at: float | None = None

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self, sent_at: float, now: float) -> None:
        """An answer came at `now` (seconds of a monotonic clock) to what was asked at `sent_at`."""
        latency = max(0.0, now - sent_at)
        usual = latency if self._usual is None else self._usual
        slow = self._answers >= _LEARN_FROM and latency > SLOW_FACTOR * usual
        self._answers += 1
        self._usual = usual + _SMOOTH * (latency - usual)
        if slow:
            self._shrink(sent_at, now)
        else:
            self._limit = min(self._most, self._limit + 1.0 / self._limit)

    def refused(self, sent_at: float, now: float) -> None:
        """A 429 or 503, or no answer in time."""
        self._shrink(sent_at, now)

    def _shrink(self, sent_at: float, now: float) -> None:
        # What was asked before the last cut says nothing about the limit as it is now.
        if self._shrunk_at is None or sent_at > self._shrunk_at:
            self._limit = max(1.0, self._limit * SHRINK)
            self._shrunk_at = now
