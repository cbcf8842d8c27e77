"""The result of every scorer, whether of quality or of learnability."""

from typing import Any, NamedTuple


class Measurement(NamedTuple):
    """A scorer's raw value of one answer, higher for better, and `detail`: how it came about, as plain JSON."""

    value: float
    detail: dict[str, Any]
