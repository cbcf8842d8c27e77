"""The broker: emptied, restarted, away, half-open; wake-ups doubled and dropped. It holds nothing to lose."""

import os
import signal
import threading

import pytest
from fleet import DONE, Fleet
from start import RECONCILE_S

from persyn.services import valkey
from persyn.services.embedded import locked, wait_until


def restart_empty(fleet: Fleet, down_s: float = 0.0) -> None:
    home = fleet.ground.home
    with locked(home):
        pid = valkey.pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: valkey.pid(home) is None, 30)
        threading.Event().wait(down_s)
        valkey.start(home)


@pytest.mark.chaos_long
def test_a_broker_that_comes_back_empty_costs_nothing(fleet: Fleet) -> None:
    fleet.load(1000)
    fleet.start()
    for _ in range(5):
        fleet.working()
        fleet.fault()
        restart_empty(fleet)
        fleet.mended()
    fleet.finish()
    assert fleet.verdict("broker killed, restarted with nothing in it").again == 0


@pytest.mark.chaos_long
def test_a_broker_emptied_while_work_goes_on(fleet: Fleet) -> None:
    fleet.load(600)
    fleet.start()
    for _ in range(20):
        fleet.working()
        fleet.fault()
        fleet.redis().flushall()
    fleet.finish()
    assert fleet.verdict("FLUSHALL").again == 0


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("down_s", [15, 300])
def test_a_broker_that_is_away_holds_up_only_what_needs_waking(fleet: Fleet, down_s: int) -> None:
    """Jobs that come while it is away: enqueued at once, done after it is back."""
    fleet.load(150)
    fleet.start()
    fleet.working()
    fleet.fault()
    restart_empty(fleet, down_s)
    fleet.mended()
    fleet.finish(400)
    assert fleet.verdict(f"broker down for {down_s} s").again == 0


@pytest.mark.chaos_long
def test_a_half_open_broker_is_given_up_and_found_again(fleet: Fleet) -> None:
    fleet.load(150, enqueue=False)
    fleet.ready(fleet.start())
    fleet.fault()
    fleet.broker.half_open()
    fleet.add_work()
    threading.Event().wait(40.0)
    fleet.broker.mend()
    fleet.mended()
    fleet.finish(300)
    assert fleet.verdict("half-open connection to the broker for 40 s").again == 0


@pytest.mark.chaos_long
def test_a_hundred_wake_ups_in_place_of_one(fleet: Fleet) -> None:
    fleet.load(300, enqueue=False)
    fleet.ready(fleet.start(), fleet.start())
    fleet.fault()
    fleet.add_work(wake=False)
    fleet.wake(times=100)
    fleet.finish()
    assert fleet.verdict("each wake-up a hundred times").again == 0


@pytest.mark.chaos_long
def test_wake_ups_that_never_arrive_are_made_up_for(fleet: Fleet) -> None:
    fleet.load(300, enqueue=False)
    fleet.ready(fleet.start())
    fleet.fault()
    fleet.add_work(wake=False)
    fleet.working()
    for _ in range(20):  # and those of the rounds that follow
        threading.Event().wait(RECONCILE_S / 4)
        fleet.redis().flushall()
    fleet.finish()
    assert fleet.scalar(DONE) > 0
    assert fleet.verdict("all wake-ups dropped").again == 0
