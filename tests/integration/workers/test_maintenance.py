"""What a worker does in its rounds, besides what wakes it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persyn import runs
from persyn.services import valkey
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


@pytest.fixture
def own_broker(site: Any) -> Iterator[Path]:
    """The home of a broker that only this site's workers know."""
    home = Path(tempfile.mkdtemp(prefix="persyn-test-", dir="/tmp"))
    valkey.start(home)
    site.environment = site.environment | {"PERSYN_BROKER_URL": valkey.url(home)}
    yield home
    site.close()
    valkey.stop(home)
    shutil.rmtree(home)


def test_a_worker_whose_broker_is_gone_does_its_work_all_the_same(site: Any, own_broker: Path) -> None:
    site.start_worker()
    site.eventually(lambda: " ready." in (site.home / "worker.log").read_text())
    valkey.stop(own_broker)
    run_id = site.prepare(prompts=4, calibration=2)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    site.eventually(site.finished, deadline_s=240)
    assert max(site.times_asked().values()) == 1
