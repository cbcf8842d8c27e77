"""Endpoints that say something odd: no wait that they ask for stops a clock, a statement or the run."""

import itertools
from collections.abc import Callable

import httpx
import pytest
from fleet import DONE, OPEN_JOBS, SPENT, TIMES, Fleet
from sqlalchemy import text

from persyn.waits import LONGEST_S

ODD = (
    "-5", "0", "1e9", "9" * 40, "1e999", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon",
    "nan", "inf", "", "0x10", "30 Feb", "\xbd", "1; 2",
)  # fmt: skip
LONGEST_PAUSE_S = "SELECT max(extract(epoch FROM until_at - clock_timestamp())) FROM queue_pause"


def refused(fleet: Fleet) -> int:
    found = httpx.get(fleet.ground.stub_url.removesuffix("/v1") + "/stub/requests", params={"limit": 100_000}).json()
    return sum(request["failure"] == "429" for request in found)


def resumed_until(fleet: Fleet, condition: Callable[[], bool]) -> None:
    """An operator who knows that the endpoint is well again uses `persyn resume` until the work goes on."""

    def look() -> bool:
        with fleet.engine.begin() as conn:
            conn.execute(text("DELETE FROM queue_pause"))
        return condition()

    fleet.eventually(look)


@pytest.mark.parametrize("times", [4, pytest.param(max(TIMES, len(ODD)), marks=pytest.mark.chaos_long)])
def test_an_odd_retry_after_costs_no_job_an_attempt_and_holds_nothing_for_good(fleet: Fleet, times: int) -> None:
    fleet.configure_stub(latency_s=1.0)
    fleet.load(150 * times)
    fleet.start()
    for said in itertools.islice(itertools.cycle(ODD), times):
        done, before = fleet.scalar(DONE), refused(fleet)
        resumed_until(fleet, lambda done=done: fleet.scalar(DONE) > done)
        fleet.fault()
        fleet.configure_stub(failures={"429": 1.0}, retry_after=said)
        # The hold of the time before may come only now, since a worker stores its answers before it pauses.
        resumed_until(fleet, lambda before=before: refused(fleet) > before)
        assert (fleet.scalar(LONGEST_PAUSE_S) or 0) <= LONGEST_S
        fleet.configure_stub(failures={}, retry_after=None)
        fleet.mended()
    fleet.configure_stub(latency_s=0.0)
    resumed_until(fleet, lambda: fleet.scalar(OPEN_JOBS) == 0)
    fleet.finish()
    assert fleet.scalar(SPENT) == 0
    fleet.verdict("an odd Retry-After", workers=2, explained=False)
