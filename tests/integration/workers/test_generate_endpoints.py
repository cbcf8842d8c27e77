"""Endpoints that someone else runs: what is their fault pauses their queue, and costs no job an attempt."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from persyn import runs
from persyn.stages import pipeline
from persyn.states import Stage


def calibrate(site: Any, run_id: int) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)


def pause_reason(site: Any, teacher: int) -> str:
    rows = site.rows("SELECT reason FROM queue_pause WHERE queue = :queue", queue=f"teacher.t{teacher}-{site.tag}")
    return str(rows[0].reason) if rows else ""


def done_by(site: Any, teacher: int) -> int:
    count: int = site.scalar(
        "SELECT count(*) FROM job WHERE queue = :queue AND state = 'done'", queue=f"teacher.t{teacher}-{site.tag}"
    )
    return count


def attempts_spent(site: Any, teacher: int) -> int:
    most: int = site.scalar("SELECT max(attempt) FROM job WHERE queue = :q", q=f"teacher.t{teacher}-{site.tag}")
    return most


def lacks(site: Any) -> list[tuple[str, str]]:
    """The queues that workers say to be unfit for, with the reasons."""
    rows = site.rows("SELECT each ->> 'queue', each ->> 'reason' FROM worker, jsonb_array_elements(unfit) AS each")
    return [tuple(row) for row in rows]


def test_a_key_that_one_worker_lacks_holds_that_worker_back_and_no_other(site: Any) -> None:
    site.changes[1] = {"endpoint": {"url": site.stub.base_url, "api_key_env": "PERSYN_TEST_KEY"}}
    run_id = site.prepare(prompts=6, calibration=6)
    calibrate(site, run_id)
    site.start_worker()
    site.eventually(lambda: done_by(site, 0) == done_by(site, 2) == 6 and bool(lacks(site)))
    [(queue, reason)] = lacks(site)
    assert queue == f"teacher.t1-{site.tag}"
    assert "environment variable PERSYN_TEST_KEY, which holds the key to" in reason
    assert site.rows("SELECT * FROM queue_pause") == []
    assert (done_by(site, 1), attempts_spent(site, 1)) == (0, 0)
    assert "no worker can serve this queue" in site.persyn("workers").stdout
    site.environment["PERSYN_TEST_KEY"] = "sk-1"
    site.start_worker()
    site.eventually(lambda: done_by(site, 1) == 6)
    assert site.rows("SELECT * FROM job_event WHERE event NOT IN ('claimed', 'completed', 'released')") == []
    assert site.violations() == {}


def test_a_prompt_that_the_endpoint_refuses_costs_that_prompt_alone(site: Any) -> None:
    """The first prompt of the queue is flagged as if its key were wrong; the run ends without a pause."""
    run_id = site.prepare(prompts=12, calibration=12, marked={0: "[[stub:401]]"})
    site.configure_stub(latency_s=0.1)
    calibrate(site, run_id)
    site.start_worker()
    site.follow(run_id)
    dead = site.rows("SELECT error_code, attempt FROM job WHERE state = 'dead'")
    assert dead == [("refused_auth", 5)] * 3
    assert site.scalar("SELECT count(*) FROM job WHERE state = 'done'") == 3 * 11
    assert site.rows("SELECT * FROM queue_pause") == []
    assert site.violations() == {}


def test_requests_that_are_all_refused_as_bad_hold_the_queue_and_kill_no_job(site: Any) -> None:
    site.changes[0] = {"system_prompt": "[[stub:400]]"}
    run_id = site.prepare(prompts=6, calibration=6)
    calibrate(site, run_id)
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: "HTTP 400: This request is not valid. It answers no request" in pause_reason(site, 0))
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") == 0)
    assert attempts_spent(site, 0) == 0
    assert site.violations() == {}


def test_a_resumed_queue_is_asked_at_once_by_the_worker_that_paused_it_for_an_hour(site: Any) -> None:
    run_id = site.prepare(prompts=6, calibration=6, marked={0: "[[stub:429*1]]"})
    site.configure_stub(retry_after_s=31_536_000.0)
    calibrate(site, run_id)
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: "asked again after 3600 s" in pause_reason(site, 0))
    assert site.persyn("resume", "--teacher", f"t0-{site.tag}").returncode == 0
    site.eventually(lambda: done_by(site, 0) == 6)
    assert site.violations() == {}


@pytest.mark.parametrize(("marker", "said"), [("401", "Incorrect API key"), ("404", "does not exist")])
def test_a_refused_key_or_model_kills_no_job(site: Any, marker: str, said: str) -> None:
    site.changes[0] = {"system_prompt": f"[[stub:{marker}]]"}
    run_id = site.prepare(prompts=6, calibration=6)
    calibrate(site, run_id)
    site.start_worker()
    site.eventually(lambda: done_by(site, 1) == done_by(site, 2) == 6 and bool(pause_reason(site, 0)))
    assert said in pause_reason(site, 0)
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") == 0)
    assert attempts_spent(site, 0) == 0
    assert site.violations() == {}


def test_an_endpoint_that_is_down_pauses_its_queue_and_is_asked_again_until_it_is_back(site: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site.changes[0] = {"endpoint": {"url": f"http://127.0.0.1:{port}/v1"}}
    run_id = site.prepare(prompts=6, calibration=6)
    calibrate(site, run_id)
    site.start_worker()
    site.eventually(lambda: done_by(site, 1) == done_by(site, 2) == 6 and "is down" in pause_reason(site, 0))
    assert attempts_spent(site, 0) == 0
    argv = [sys.executable, "-m", "persyn.inference.servers.stub", "--port", str(port), "--model", "stub-model"]
    endpoint = subprocess.Popen(argv)
    try:
        site.follow(run_id)
        assert httpx.get(f"http://127.0.0.1:{port}/stub/seen").json()["requests"] == 6
    finally:
        endpoint.terminate()
        endpoint.wait()
    assert done_by(site, 0) == 6
    wrong = site.rows(
        "SELECT job_id, event, error_code, detail FROM job_event WHERE event IN ('retried', 'died', 'lost')"
    )
    assert wrong == []
    assert site.violations() == {}


def test_a_wait_that_an_endpoint_asks_for_holds_for_all_of_its_requests(site: Any) -> None:
    run_id = site.prepare(prompts=6, calibration=6, marked={0: "[[stub:429*1]]"})
    site.configure_stub(retry_after_s=300.0)
    calibrate(site, run_id)
    site.start_worker()
    site.eventually(lambda: all("asked again after" in pause_reason(site, teacher) for teacher in range(3)))
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") == 0)
    assert max(attempts_spent(site, teacher) for teacher in range(3)) <= 1  # those that were answered meanwhile
    released = site.rows("SELECT DISTINCT detail FROM job_event WHERE event = 'released'")
    assert released
    assert all("Too many requests" in row.detail for row in released)


def test_what_waits_for_a_rate_limit_is_not_asked_once_its_run_is_cancelled(site: Any) -> None:
    site.changes[0] = {"endpoint": {"url": site.stub.base_url, "requests_per_minute": 20}}
    run_id = site.prepare(prompts=20, calibration=20)
    calibrate(site, run_id)
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: done_by(site, 0) > 0 and site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") > 5)
    runs.cancel(site.engine, run_id, by="me@here")

    def given_back() -> bool:
        pipeline.advance(site.engine, run_id)
        return bool(site.scalar("SELECT count(*) FROM job WHERE state IN ('leased', 'ready')") == 0)

    site.eventually(given_back)
    assert sum(site.times_asked().values()) == done_by(site, 0) < 15
    assert site.violations() == {}


def test_an_endpoint_that_hangs_holds_up_no_other(site: Any) -> None:
    site.changes[0] = {"system_prompt": "[[stub:hang]]"}
    run_id = site.prepare(prompts=6, calibration=6)
    calibrate(site, run_id)
    site.start_worker()
    site.eventually(lambda: done_by(site, 1) == done_by(site, 2) == 6)
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") == 6)


def test_a_worker_whose_server_does_not_start_takes_nothing_from_a_healthy_one(site: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "uvicorn.py").write_text("raise SystemExit('no CUDA here')")
    site.changes[0] = {"endpoint": None, "model": "one", "server": {"kind": "stub"}}
    run_id = site.prepare(prompts=30, calibration=30)
    calibrate(site, run_id)
    path = site.environment.get("PYTHONPATH", "")
    site.environment["PYTHONPATH"] = f"{tmp_path / 'broken'}:{path}"
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: bool(lacks(site)))
    assert site.rows("SELECT * FROM queue_pause") == []
    site.environment["PYTHONPATH"] = path
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: done_by(site, 0) == 30)
    assert site.rows("SELECT DISTINCT event FROM job_event ORDER BY event") == [("claimed",), ("completed",)]
    assert attempts_spent(site, 0) == 1
    assert site.violations() == {}


def test_two_workers_on_one_teacher_share_its_queue_and_ask_nothing_twice(site: Any) -> None:
    run_id = site.prepare(prompts=200, calibration=200)
    site.configure_stub(latency_s=0.3)
    calibrate(site, run_id)
    teacher = f"t0-{site.tag}"
    for _ in range(2):
        site.start_worker("--teachers", teacher)
    site.eventually(lambda: done_by(site, 0) == 200)
    workers = site.rows("""
        SELECT l.worker, count(*) AS answers FROM generation g JOIN lease l ON l.id = g.lease_id GROUP BY l.worker
    """)
    assert len(workers) == 2
    assert sum(row.answers for row in workers) == 200
    assert set(site.times_asked().values()) == {1}
    assert site.violations() == {}


def test_teachers_of_one_model_share_a_server_and_another_model_is_loaded_once(site: Any) -> None:
    """Three teachers with stubs of their own, two of them of one model: two servers are started, and none twice."""
    for number, model in enumerate(["one", "two", "one"]):
        site.changes[number] = {"endpoint": None, "model": model, "server": {"kind": "stub"}}
    run_id = site.prepare(prompts=100, calibration=100)
    calibrate(site, run_id)
    site.start_worker("--teachers", ",".join(f"t{number}-{site.tag}" for number in range(3)))
    site.eventually(lambda: sum(done_by(site, number) for number in range(3)) == 300)
    log = (site.home / "worker.log").read_text()
    assert log.count("action=start_server") == 2
    assert site.violations() == {}
