"""The queue that a worker takes next: what its host can do, in the places that it has."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persyn import runs
from persyn.errors import ConfigError
from persyn.jobs.wake_ups import SCORE_LEARNABILITY, SCORE_QUALITY
from persyn.stages import pipeline
from persyn.states import Stage
from persyn.workers.app import drain_next
from persyn.workers.fitness import Need
from persyn.workers.worker import ASIDE, Worker


@pytest.fixture
def calibrating(site: Any) -> Any:
    """A site whose teachers, all behind endpoints, have six jobs each."""
    run_id = site.prepare(prompts=6, calibration=6)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    return site


def queue(site: Any, teacher: int) -> str:
    return f"teacher.t{teacher}-{site.tag}"


def test_endpoints_are_taken_side_by_side_and_each_queue_once(calibrating: Any, tmp_path: Path) -> None:
    worker = Worker(calibrating.engine, tmp_path)
    taken = {worker.take_queue() for _ in range(ASIDE)}
    assert taken == {queue(calibrating, number) for number in range(3)}
    assert len(taken) == ASIDE
    assert worker.take_queue() is None
    assert not any(worker.may_load(name) for name in taken if name)
    worker.leave_queue(queue(calibrating, 1))
    assert worker.take_queue() == queue(calibrating, 1)


def test_a_queue_that_this_host_cannot_serve_is_left_to_others(calibrating: Any, tmp_path: Path) -> None:
    worker = Worker(calibrating.engine, tmp_path, queues=[queue(calibrating, 0)])
    teacher_id = calibrating.scalar("SELECT id FROM teacher WHERE name = :name", name=f"t0-{calibrating.tag}")
    worker.is_unfit([Need(queue(calibrating, 0), teacher_id=teacher_id)], ConfigError("The key is not set."))
    assert worker.take_queue() is None
    worker.is_fit([Need(queue(calibrating, 0), teacher_id=teacher_id)])
    assert worker.take_queue() == queue(calibrating, 0)


def test_an_error_that_nobody_foresaw_keeps_a_worker_from_that_queue_and_from_no_other(
    calibrating: Any, tmp_path: Path
) -> None:
    """The first teacher's address cannot even be read."""
    broken = """
        UPDATE run SET config = jsonb_set(config, '{teachers, 0, endpoint, url}', '"http://127.0.0.1:PORT/v1"')
    """
    with calibrating.engine.begin() as conn:
        conn.execute(text(broken))
    worker = Worker(calibrating.engine, tmp_path)
    for _ in range(4):
        drain_next(worker)
    done = calibrating.rows("SELECT queue, count(*) FROM job WHERE state = 'done' GROUP BY queue ORDER BY queue")
    assert [tuple(row) for row in done] == [(queue(calibrating, 1), 6), (queue(calibrating, 2), 6)]
    assert worker.take_queue() is None
    assert calibrating.scalar("SELECT max(attempt) FROM job WHERE state = 'ready'") == 0


def test_a_teacher_that_this_version_cannot_read_keeps_a_worker_from_no_other(calibrating: Any, tmp_path: Path) -> None:
    with calibrating.engine.begin() as conn:
        conn.execute(text("UPDATE run SET config = jsonb_set(config, '{teachers, 0, new_key}', '1')"))
    worker = Worker(calibrating.engine, tmp_path)
    assert {worker.take_queue() for _ in range(3)} == {None, queue(calibrating, 1), queue(calibrating, 2)}


def test_an_earlier_stage_overtakes_a_later_one_of_the_same_queue(calibrating: Any, tmp_path: Path) -> None:
    worker = Worker(calibrating.engine, tmp_path)
    assert worker.is_overtaken(queue(calibrating, 0), Stage.GENERATE)
    assert not worker.is_overtaken(queue(calibrating, 0), Stage.CALIBRATE)


def test_a_host_without_torch_leaves_learnability_to_others_before_a_job_comes(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    worker = Worker(site.engine, tmp_path, queues=[SCORE_QUALITY, SCORE_LEARNABILITY], clock=lambda: now)
    worker.look_at_host()
    assert worker.fitness.report(now) == []
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    worker.look_at_host()
    (unfit,) = worker.fitness.report(now)
    assert unfit.queue == SCORE_LEARNABILITY
    assert "torch is not installed on this host" in unfit.reason
    assert worker.fitness.serves(SCORE_QUALITY, now)
    now = unfit.again_in_s
    worker.look_at_host()
    assert not worker.fitness.serves(SCORE_LEARNABILITY, now)


def test_two_containers_with_one_host_name_and_one_process_id_are_two_workers() -> None:
    code = "import os; os.getpid = lambda: 1\nfrom persyn.workers.worker import own_name\nprint(own_name(), own_name())"
    said = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(2)]
    (first, again), (second, _) = (each.stdout.split() for each in said)
    assert first == again
    assert first.startswith(f"{socket.gethostname()}:1-")
    assert first != second
