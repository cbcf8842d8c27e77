"""Workers that are killed, stopped and frozen, at every point where it could matter."""

import os
import random
import signal
import subprocess

import pytest
from fleet import DONE, HELD_BY, Fleet
from proxy import CLAIM, COMPLETION, Action

# Where in its work a worker is killed: at which transaction's COMMIT, and on which side of it.
POINTS: dict[str, tuple[bytes, Action]] = {
    "before claim-commit": (CLAIM, "hold"),
    "after claim-commit": (CLAIM, "hold_reply"),
    "before completion-commit": (COMPLETION, "hold"),
    "after completion-commit": (COMPLETION, "hold_reply"),
}
KILLS = int(os.environ.get("PERSYN_CHAOS_KILLS_EACH", "8"))
RANDOM_KILLS = int(os.environ.get("PERSYN_CHAOS_KILLS", "200"))
LOST = "SELECT count(*) FROM job_event WHERE event = 'lost'"
RELEASED = "SELECT count(*) FROM job_event WHERE event = 'released'"
LEASE_OF = "SELECT max(id) FROM lease WHERE worker LIKE '%:' || CAST(:pid AS text) || '-%'"
REVOKED = "SELECT count(*) FROM lease WHERE id = :id AND revoked_at IS NOT NULL"


def kill_at(fleet: Fleet, point: str) -> None:
    trap = fleet.postgres.trap(*POINTS[point])
    worker = fleet.start()
    fleet.eventually(trap.sprung.is_set)
    fleet.fault()
    fleet.kill(worker)


def begin_beside_a_healthy_worker(fleet: Fleet) -> None:
    """Slow answers, so that the work lasts; a worker that nothing befalls takes over what the others lose."""
    fleet.configure_stub(latency_s=2.0)
    fleet.load(KILLS * 200)
    fleet.start(healthy=True)
    fleet.working()


def finish(fleet: Fleet) -> None:
    fleet.configure_stub(latency_s=0.0)
    fleet.finish()
    fleet.revive_dead()
    fleet.finish()


def test_workers_killed_on_either_side_of_each_commit_lose_and_double_nothing(fleet: Fleet) -> None:
    """Four workers at once, one stuck at each of the points; a worker that is stuck springs no second trap."""
    fleet.load(160)
    traps = [fleet.postgres.trap(*point) for point in POINTS.values()]
    stuck = [fleet.start() for _ in POINTS]
    fleet.eventually(lambda: all(trap.sprung.is_set() for trap in traps))
    for worker in stuck:
        fleet.fault()
        fleet.kill(worker)
    fleet.start()
    fleet.finish()
    fleet.verdict("kill -9 of a worker at each commit at once")


@pytest.mark.chaos_long
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_again_and_again_at_a_commit(fleet: Fleet, point: str) -> None:
    begin_beside_a_healthy_worker(fleet)
    for _ in range(KILLS):
        kill_at(fleet, point)
    finish(fleet)
    fleet.verdict(f"kill -9 of a worker {point}")


@pytest.mark.chaos_long
def test_a_worker_killed_in_mid_generation(fleet: Fleet) -> None:
    begin_beside_a_healthy_worker(fleet)
    for _ in range(KILLS):
        worker = fleet.start()
        fleet.in_mid_generation(worker)
        fleet.fault()
        fleet.kill(worker)
    finish(fleet)
    fleet.verdict("kill -9 of a worker in mid-generation")


def at_work(fleet: Fleet, workers: "list[subprocess.Popen[bytes]]") -> "list[subprocess.Popen[bytes]]":
    """Those that hold jobs; one at least: whoever is killed before it has begun proves nothing."""
    found: list[subprocess.Popen[bytes]] = []

    def look() -> bool:
        found[:] = [worker for worker in workers if fleet.scalar(HELD_BY, pid=worker.pid) > 0]
        return bool(found)

    fleet.eventually(look)
    return found


@pytest.mark.parametrize(("kills", "alive"), [(5, 2), pytest.param(RANDOM_KILLS, 3, marks=pytest.mark.chaos_long)])
@pytest.mark.timeout(2400)
def test_workers_killed_at_random(fleet: Fleet, kills: int, alive: int) -> None:
    draws = random.Random(kills)
    fleet.configure_stub(latency_s=0.15, latency_sigma=0.5)
    fleet.load(kills * 40 + 60, in_flight=8)
    workers = [fleet.start() for _ in range(alive)]
    for _ in range(kills):
        wanted = fleet.scalar(DONE) + draws.randrange(5, 40)
        fleet.eventually(lambda wanted=wanted: fleet.scalar(DONE) >= wanted)
        victim = draws.choice(at_work(fleet, workers))
        fleet.fault()
        fleet.kill(victim)
        workers[workers.index(victim)] = fleet.start()
    fleet.finish(600)
    fleet.revive_dead()
    fleet.finish(600)
    fleet.verdict("kill -9 of a worker at random")


@pytest.mark.chaos_long
def test_a_worker_frozen_past_its_lease_writes_nothing_when_it_wakes(fleet: Fleet) -> None:
    fleet.load(1500)
    frozen, other = fleet.start(), fleet.start()
    for _ in range(5):
        fleet.in_mid_generation(frozen)
        fleet.fault()
        frozen.send_signal(signal.SIGSTOP)
        lease = fleet.scalar(LEASE_OF, pid=frozen.pid)
        fleet.eventually(lambda lease=lease: fleet.scalar(REVOKED, id=lease) == 1)
        frozen.send_signal(signal.SIGCONT)
        fleet.mended()
    fleet.finish()
    assert frozen.poll() is None
    assert other.poll() is None
    found = fleet.verdict("SIGSTOP past the TTL, then SIGCONT")
    assert found.again > 0, "it was never frozen while the teacher answered"


@pytest.mark.chaos_long
def test_a_worker_told_to_stop_hands_back_at_once(fleet: Fleet) -> None:
    begin_beside_a_healthy_worker(fleet)
    for _ in range(KILLS):
        worker = fleet.start()
        fleet.holding(worker)
        fleet.fault()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
    finish(fleet)
    assert fleet.scalar(LOST) == 0
    assert fleet.scalar(RELEASED) > 0
    fleet.verdict("SIGTERM")


@pytest.mark.chaos_long
def test_a_worker_whose_clock_is_wrong_keeps_its_leases(fleet: Fleet) -> None:
    """Another worker, with the right time, reaps meanwhile: it must find nothing to reap."""
    fleet.load(600)
    fleet.fault()
    fleet.start("--clock-off-s", "3600")
    fleet.start("--clock-off-s", "-3600")
    fleet.start()
    fleet.finish()
    assert fleet.scalar(LOST) == 0
    fleet.verdict("a worker's clock an hour ahead, another's an hour behind", times=2)
