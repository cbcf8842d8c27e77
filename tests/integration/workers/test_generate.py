"""What a worker does with failures of a teacher, and with the order to stop, in the middle of a drain."""

import signal
from typing import Any

from persyn import runs
from persyn.stages import pipeline
from persyn.states import Stage


def calibrate(site: Any, run_id: int) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)


def events(site: Any, external_id: str) -> list[tuple[str, str | None]]:
    """What happened to a prompt's jobs, one job after the other."""
    rows = site.rows(
        """
        SELECT e.event, e.error_code FROM audit.job_history e JOIN job j ON j.id = e.job_id
        JOIN prompt p ON p.id = j.prompt_id WHERE p.external_id = :id ORDER BY e.job_id, e.id
        """,
        id=external_id,
    )
    return [tuple(row) for row in rows]


def test_passing_failures_are_retried_and_a_permanent_one_ends_its_job_alone(site: Any) -> None:
    marked = {0: "[[stub:500*1]]", 1: "[[stub:429*1]]", 2: "[[stub:400-context]]"}
    run_id = site.prepare(prompts=6, calibration=6, marked=marked)
    site.configure_stub(retry_after_s=0.1)
    calibrate(site, run_id)
    site.start_worker()
    site.follow(run_id)
    once = [("enqueued", None), ("claimed", None), ("retried", "server_error"), ("claimed", None), ("completed", None)]
    assert events(site, "p0") == once * site.TEACHERS
    # An endpoint without room is asked again, which is no attempt of the job's.
    assert events(site, "p1") == [("enqueued", None), ("claimed", None), ("completed", None)] * site.TEACHERS
    dead = [("enqueued", None), ("claimed", None), ("died", "context_too_long")]
    assert events(site, "p2") == dead * site.TEACHERS
    states = dict(site.rows("SELECT state, count(*) FROM job GROUP BY state"))
    assert states == {"done": 5 * site.TEACHERS, "dead": site.TEACHERS}
    assert site.violations() == {}


def test_an_order_to_stop_hands_unfinished_jobs_back_at_once_and_spends_no_attempt(site: Any) -> None:
    run_id = site.prepare(prompts=6, calibration=6, marked={0: "[[stub:hang]]"})
    calibrate(site, run_id)
    worker = site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'done'") >= 5)
    hanging = "SELECT count(*) FROM job WHERE state = 'leased'"
    assert site.scalar(hanging) == 1

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    released = site.rows("""
        SELECT j.state, j.attempt, j.lost_count, j.lease_id, j.not_before <= clock_timestamp() AS due
        FROM job j JOIN job_event e ON e.job_id = j.id AND e.event = 'released'""")
    assert released == [("ready", 0, 0, None, True)]
    assert site.scalar("SELECT count(*) FROM lease WHERE revoked_at IS NULL") == 0
    assert site.scalar("SELECT count(*) FROM job_event WHERE event = 'lost'") == 0
    assert site.violations() == {}
