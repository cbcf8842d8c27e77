"""Workers that are killed, stopped and frozen, at every point where it could matter."""

import os
import random
import signal
import time

import pytest
from fleet import DONE, LEASED, Fleet
from proxy import CLAIM, COMPLETION
from start import LEASE_TTL_S

# Where in its work the worker is killed: at which transaction's COMMIT, and on which side of it.
POINTS = {
    "before claim-commit": (CLAIM, "hold"),
    "after claim-commit": (CLAIM, "hold_reply"),
    "before completion-commit": (COMPLETION, "hold"),
    "after completion-commit": (COMPLETION, "hold_reply"),
}


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.chaos_long)])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_commit_loses_and_doubles_nothing(fleet: Fleet, point: str, times: int) -> None:
    fleet.load(60 * times)
    for _ in range(times):
        trap = fleet.postgres.trap(*POINTS[point])
        worker = fleet.start()
        fleet.eventually(trap.sprung.is_set)
        fleet.fault()
        fleet.kill(worker)
    fleet.start()
    fleet.finish()
    fleet.verdict(f"kill -9 of a worker {point}")
