"""The place where one worker's last claim ended, from which the next one goes on."""

import time
from datetime import datetime
from typing import NamedTuple

# For so long claims go on from where the last one ended, before one looks at everything again.
LOOK_AGAIN_S = 10.0


class Position(NamedTuple):
    """The last job of a claim: its lane, and where in it."""

    run_id: int
    stage: int
    not_before: datetime
    job_id: int


class ClaimCursor:
    """The position of one worker's claims in one queue, so that the next claim need not begin at the lane's head.

    A claim may pass over a job that was handed back, or a lane that goes first. The next claim that looks at everything
    finds it: after LOOK_AGAIN_S, or as soon as the lane gives less than was asked for. Only this follows the host's own
    clock.
    """

    def __init__(self) -> None:
        self._position: Position | None = None
        self._looked_at = 0.0

    def position(self) -> Position | None:
        """The position to go on from; None where the next claim must look at everything."""
        return self._position if time.monotonic() - self._looked_at < LOOK_AGAIN_S else None

    def note(self, position: Position | None, *, looked: bool) -> None:
        """Remember a claim's end. `position` None: nothing is left beyond. `looked`: at everything."""
        self._position = position
        if looked:
            self._looked_at = time.monotonic()
