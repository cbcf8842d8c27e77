"""A host that lacks something beside one that does not: the other does the work, and the first says what it lacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from disk import fill, small
from fleet import SPENT, TIMES, Fleet

from persyn.inference.random_model import build
from persyn.states import Stage
from persyn.stores import VARIABLE

LONG = pytest.mark.chaos_long
KEY = "CHAOS_TEACHER_KEY"
HELD_BACK = "SELECT count(*) FROM queue_pause"
ROUTED = "SELECT count(*) FROM job WHERE kind = 'route' AND state = 'done'"
ANSWERED_BY = """
SELECT count(*) FROM generation g JOIN lease l ON l.id = g.lease_id WHERE l.worker LIKE '%:' || :pid || '-%'
"""
TRAINED = "SELECT count(*) FROM run JOIN router ON router.run_id = run.id WHERE finished_at IS NOT NULL"
SCORES = "SELECT count(*) FROM job WHERE kind = 'score' AND state = :state"


def beside(fleet: Fleet, times: int, why: str, *flags: str, **environment: str) -> None:
    """So many bad workers, one after the other, beside a good one that has work for longer than they take to start."""
    for _ in range(times):
        fleet.working()
        fleet.fault()
        bad = fleet.start(*flags, **environment)
        fleet.unfit(bad, why)
        fleet.mended()
        fleet.kill(bad)


def nobody_paid(fleet: Fleet) -> None:
    """No job lost an attempt to a host, and no queue was held back for it."""
    assert fleet.scalar(HELD_BACK) == 0
    assert fleet.scalar(SPENT) == 0


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    with small(tmp_path / "full", "size=1m") as folder:
        fill(folder)
        yield folder


@pytest.mark.parametrize("times", [1, pytest.param(TIMES, marks=LONG)])
def test_a_worker_without_the_key_leaves_the_work_to_one_that_has_it(fleet: Fleet, times: int) -> None:
    fleet.configure_stub(latency_s=2.0)
    fleet.load(200 * times, key=KEY)
    fleet.start(**{KEY: "sk-chaos"})
    beside(fleet, times, KEY)
    fleet.configure_stub(latency_s=0.0)
    fleet.finish()
    nobody_paid(fleet)
    fleet.verdict("a worker without the key beside one that has it")


@LONG
def test_a_host_with_a_full_disk_leaves_the_work_to_a_good_one(fleet: Fleet, full_disk: Path) -> None:
    fleet.load(300 * TIMES, server_args=("--latency-s", "1"))
    fleet.start()
    beside(fleet, TIMES, "No space left on device", PERSYN_HOME=str(full_disk))
    fleet.finish()
    nobody_paid(fleet)
    fleet.verdict("a host whose disk is full beside a good one")


@LONG
def test_a_worker_without_a_package_leaves_the_scores_to_one_that_has_it(fleet: Fleet) -> None:
    """The scores wait, and every worker that comes lacks the package; the last of them live on beside the good one."""
    fleet.load(40 * TIMES, calibration=40 * TIMES, scorers={"quality": [{"kind": "math_verify"}]})
    fleet.start()
    fleet.eventually(lambda: fleet.scalar(SCORES, state="ready") >= 80 * TIMES)
    for number in range(TIMES):
        fleet.fault()
        bad = fleet.start("--scorers", **fleet.lacking("math_verify"))
        fleet.unfit(bad, "math_verify")
        if number < TIMES - 2:
            fleet.kill(bad)
    assert fleet.scalar(SCORES, state="done") == 0
    fleet.start("--scorers")
    fleet.finish()
    nobody_paid(fleet)
    assert fleet.scalar(SCORES, state="done") == 80 * TIMES
    fleet.verdict("a worker without a package beside one that has it")


@LONG
def test_a_worker_that_cannot_read_the_router_leaves_the_routing_to_one_that_can(fleet: Fleet, tmp_path: Path) -> None:
    """The router is in a store that every worker that comes reads in vain; the last of them answers all the same."""
    store = tmp_path / "store"
    store.mkdir()
    good, bad_url = {VARIABLE: f"file://{store}"}, f"file://{tmp_path}/not-mounted"
    fleet.load_untrained(prompts=40, calibration=8, model=build(tmp_path / "model", hidden_size=32))
    trainer = fleet.start("--scorers", "--router", "--database-takes", "0", **good)
    fleet.eventually(lambda: fleet.scalar(TRAINED) == 1, 600.0)
    fleet.kill(trainer)
    fleet.aim(Stage.GENERATE)
    for number in range(TIMES):
        fleet.fault()
        bad = fleet.start("--router", PERSYN_HOME=str(tmp_path / f"home-{number}"), **{VARIABLE: bad_url})
        fleet.unfit(bad, VARIABLE)
        if number < TIMES - 1:
            fleet.kill(bad)
    assert fleet.scalar(ROUTED) == 0
    fleet.start("--scorers", "--router", PERSYN_HOME=str(tmp_path / "home-good"), **good)
    fleet.finish()
    nobody_paid(fleet)
    assert fleet.scalar(ROUTED) == 1
    assert fleet.scalar(ANSWERED_BY, pid=str(bad.pid)) > 0
    fleet.verdict("a worker that cannot read the router beside one that can", note="the good one came last")
