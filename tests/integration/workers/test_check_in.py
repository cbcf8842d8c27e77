"""How a worker leaves: in its own time when it is drained, at once on SIGTERM, and where it stands on a second one."""

import signal
import socket
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from persyn import jobs, runs
from persyn.jobs import workers
from persyn.stages import pipeline
from persyn.states import Stage

LEASED = "SELECT count(*) FROM job WHERE state = 'leased'"
EVENTS = "SELECT count(*) FROM job_event WHERE event = :event"


@pytest.fixture
def calibrating(site: Any) -> Any:
    """A site with 30 prompts for each of three teachers, ready to be answered."""
    run_id = site.prepare(prompts=30, calibration=30)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    return site


def ask_to_drain(site: Any, grace_s: float) -> None:
    with site.engine.begin() as conn:
        (worker,) = [each for each in workers.workers(conn) if each.stopped_at is None]
        workers.request_drain(conn, name=worker.name, grace_s=grace_s)


def test_a_drained_worker_finishes_what_it_holds_claims_nothing_more_and_leaves(calibrating: Any) -> None:
    site = calibrating
    site.configure_stub(latency_s=8.0)
    worker = site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: site.scalar(LEASED) > 0)
    held = site.scalar(LEASED)
    ask_to_drain(site, grace_s=600)
    assert worker.wait(timeout=60) == 0
    assert site.scalar("SELECT count(*) FROM job WHERE state = 'done'") == held
    assert site.scalar("SELECT count(*) FROM job WHERE state = 'ready'") == 90 - held > 0
    assert site.scalar(EVENTS, event="released") == 0
    assert site.scalar("SELECT count(*) FROM worker WHERE stopped_at IS NOT NULL") == 1
    assert max(site.times_asked().values()) == 1
    assert site.violations() == {}


def test_a_drained_worker_whose_grace_is_over_hands_back_what_it_holds(calibrating: Any) -> None:
    site = calibrating
    site.configure_stub(latency_s=300.0)
    worker = site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: site.scalar(LEASED) > 0)
    held = site.scalar(LEASED)
    ask_to_drain(site, grace_s=0)
    assert worker.wait(timeout=60) == 0
    assert site.scalar(EVENTS, event="released") == held
    assert site.scalar("SELECT max(attempt + lost_count) FROM job") == 0
    assert site.violations() == {}


def test_a_second_order_to_stop_ends_a_worker_that_cannot_hand_back(calibrating: Any) -> None:
    site = calibrating
    site.configure_stub(latency_s=300.0)
    worker = site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: site.scalar(LEASED) > 0)
    with site.engine.connect() as conn:
        lease_id = conn.execute(text("SELECT id FROM lease WHERE revoked_at IS NULL FOR UPDATE")).scalar_one()

        def ended() -> bool:
            worker.send_signal(signal.SIGTERM)
            return worker.poll() is not None

        site.eventually(ended)
        assert worker.returncode == 128 + signal.SIGTERM
    with site.engine.begin() as conn:
        conn.execute(text("UPDATE lease SET expires_at = '2000-01-01' WHERE id = :id"), {"id": lease_id})
        assert jobs.reap(conn) > 0
    assert site.scalar(LEASED) == 0
    assert site.violations() == {}


def test_a_worker_serves_its_counters(calibrating: Any) -> None:
    site = calibrating
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    site.start_worker("--all", "--metrics-port", str(port))
    site.eventually(site.finished)

    def counted() -> bool:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        answers = [line for line in page.splitlines() if line.startswith("persyn_answers_total{")]
        return sum(float(line.split()[-1]) for line in answers) == 90

    site.eventually(counted)


def test_a_worker_that_may_go_when_idle_does_its_work_first(calibrating: Any) -> None:
    worker = calibrating.start_worker("--all", "--exit-when-idle", "1s")
    assert worker.wait(timeout=120) == 0
    assert calibrating.scalar("SELECT count(*) FROM job WHERE state <> 'done' AND queue LIKE 'teacher.%'") == 0
    assert calibrating.violations() == {}
