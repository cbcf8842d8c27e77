"""Waits: none is longer than an hour, whoever asks for it, and those for something that is down grow. Pure."""

import math
import random
from collections.abc import Callable

LONGEST_S = 3600.0


def bounded(seconds: float) -> float:
    """A wait that came from outside, between 0 and LONGEST_S: no clock and no timestamp holds 1e300 seconds."""
    return LONGEST_S if math.isnan(seconds) else float(min(max(seconds, 0.0), LONGEST_S))


class Backoff:
    """Ever longer waits while something is down, each drawn at random so that not all workers come back at once."""

    def __init__(
        self, *, first_s: float = 2.0, cap_s: float = 300.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._first_s, self._cap_s, self._draw = first_s, cap_s, draw
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait now: between half and all of first·2ⁿ, never above the cap."""
        whole = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return whole * (0.5 + self._draw() / 2)

    def worked(self) -> None:
        """Begin with the shortest wait again."""
        self._failures = 0
