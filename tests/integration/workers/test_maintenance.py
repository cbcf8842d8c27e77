"""A worker for everything serves teachers that did not exist when it started."""

from typing import Any

from persyn import runs
from persyn.stages import pipeline
from persyn.states import Stage


def test_a_running_worker_finds_the_teachers_of_a_new_run(site: Any) -> None:
    worker = site.start_worker()
    site.eventually(lambda: " ready." in (site.home / "worker.log").read_text())
    run_id = site.prepare(prompts=4, calibration=2)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    site.eventually(site.finished)
    assert worker.poll() is None
    assert site.scalar("SELECT count(*) FROM generation") == 2 * site.TEACHERS
