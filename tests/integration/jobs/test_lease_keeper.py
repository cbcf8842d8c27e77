"""Leases between real processes: what kill -9 and a stopped machine leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from persyn.errors import LeaseLost
from persyn.jobs import lease_keeper
from persyn.jobs.lease_keeper import LeaseKeeper

if TYPE_CHECKING:
    from tests.integration.conftest import World

ROOT = Path(__file__).resolve().parents[3]


class Worker:
    """A `lease_process.py` that has claimed."""

    def __init__(self, url: str, queue: str, limit: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("lease_process.py")), url, queue, str(limit)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        claimed = self.hear()
        self.lease_id: int = claimed["lease"]
        self.jobs: list[int] = claimed["jobs"]

    def hear(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(_pipe(self.process.stdout).readline())
        return reply

    def say(self, word: str) -> None:
        stream = _pipe(self.process.stdin)
        stream.write(word + "\n")
        stream.flush()

    def ask(self, word: str) -> dict[str, Any]:
        self.say(word)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


Start = Callable[[int], Worker]


@pytest.fixture
def start(world: "World", database_url: str) -> Iterator[Start]:
    """`start(limit)` runs a worker that claims up to `limit` jobs."""
    workers: list[Worker] = []

    def run(limit: int) -> Worker:
        workers.append(Worker(database_url, world.queue, limit))
        return workers[-1]

    yield run
    for worker in workers:
        worker.kill()


def answers(world: "World") -> list[tuple[int, int]]:
    """(job, lease) of every stored answer, by job."""
    found = world.scalar("SELECT jsonb_agg(jsonb_build_array(job_id, lease_id) ORDER BY job_id, id) FROM generation")
    return [(job_id, lease_id) for job_id, lease_id in found or []]


def test_a_worker_killed_while_it_generates_loses_and_doubles_nothing(world: "World", start: Start) -> None:
    ids = world.fill(4)
    first = start(3)
    first.kill()
    assert world.reap() == 0  # nobody knows yet that it is dead
    world.expire(first.lease_id)
    assert world.reap() == 3
    second = start(10)
    assert second.jobs == ids
    assert second.ask("complete") == {"accepted": ids}
    assert answers(world) == [(job_id, second.lease_id) for job_id in ids]
    assert world.scalar("SELECT count(*) FROM job WHERE state <> 'done'") == 0
    assert world.violations() == {}


def test_a_worker_killed_before_its_commit_stores_nothing(world: "World", start: Start) -> None:
    ids = world.fill(3)
    first = start(3)
    world.expire(first.lease_id)
    assert first.ask("hang") == {"uncommitted": ids}
    assert world.reap() == 0  # it may still commit
    first.kill()
    while world.reap() == 0:  # until Postgres notices that the connection is gone
        pass
    assert answers(world) == []
    second = start(3)
    assert second.ask("complete") == {"accepted": ids}
    assert answers(world) == [(job_id, second.lease_id) for job_id in ids]
    assert world.violations() == {}


def test_a_worker_killed_after_its_commit_keeps_what_it_stored(world: "World", start: Start) -> None:
    ids = world.fill(3)
    first = start(2)
    first.ask("complete")
    first.kill()
    world.revoke(first.lease_id)
    second = start(3)
    assert second.ask("complete") == {"accepted": ids[2:]}
    assert answers(world) == [(ids[0], first.lease_id), (ids[1], first.lease_id), (ids[2], second.lease_id)]


@pytest.mark.parametrize("other_done", [False, True])
def test_a_zombie_that_wakes_writes_nothing(world: "World", start: Start, other_done: bool) -> None:
    ids = world.fill(3)
    zombie = start(3)
    os.kill(zombie.process.pid, signal.SIGSTOP)
    world.revoke(zombie.lease_id)
    other = start(3)
    assert other.jobs == ids
    if other_done:
        other.ask("complete")
    zombie.say("complete")
    os.kill(zombie.process.pid, signal.SIGCONT)
    assert "was revoked" in zombie.hear()["lost"]
    assert zombie.ask("heartbeat") == {"alive": False}
    if not other_done:
        assert answers(world) == []
        assert other.ask("complete") == {"accepted": ids}
    assert answers(world) == [(job_id, other.lease_id) for job_id in ids]
    assert world.scalar("SELECT count(*) FROM job_event WHERE event = 'completed'") == 3
    assert world.violations() == {}


def test_a_worker_stopped_before_its_commit_does_not_hold_up_the_reaping_of_others(
    world: "World", start: Start
) -> None:
    ids = world.fill(2)
    stopped, dead = start(1), start(1)
    world.expire(stopped.lease_id)
    world.expire(dead.lease_id)
    stopped.ask("hang")
    os.kill(stopped.process.pid, signal.SIGSTOP)
    dead.kill()
    assert world.reap() == 1
    assert [world.job(job_id).state for job_id in ids] == ["leased", "ready"]
    os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.ask("go on") == {"accepted": ids[:1]}
    assert answers(world) == [(ids[0], stopped.lease_id)]
    assert world.violations() == {}


def test_a_keeper_tells_of_a_lost_lease_and_of_work_that_stands_still(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    with LeaseKeeper(world.engine, worker="w", host="h", queue=world.queue) as keeper:
        assert keeper.trouble() is None
        monkeypatch.setattr(lease_keeper, "STALL_S", -1.0)
        assert "has not moved" in str(keeper.trouble())
        keeper.lost.set()
        assert "is lost" in str(keeper.trouble())
    assert keeper.trouble() is None


def test_a_lease_outlives_a_load_that_says_nothing_and_no_other_silence(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_keeper, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(lease_keeper, "STALL_S", 0.0)  # whoever does not move at this very moment is stuck
    renewed = "SELECT renewed_at FROM lease"
    with LeaseKeeper(world.engine, worker="w", host="h", queue=world.queue) as lease:
        with lease.patience():
            before = world.scalar(renewed)
            eventually(lambda: world.scalar(renewed) > before)
        with pytest.raises(LeaseLost), lease.patience():
            lease.lost.set()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
