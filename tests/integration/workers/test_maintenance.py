"""What a worker does in its rounds, besides what wakes it; and one run costs no other its round."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persyn import reporting, runs
from persyn.jobs import wake_ups
from persyn.services import Endpoints, valkey
from persyn.stages import pipeline
from persyn.states import Stage
from persyn.workers.maintenance import reconcile
from persyn.workers.worker import Worker


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


def test_a_run_that_cannot_be_looked_at_says_so_and_keeps_no_other(
    build_run: Callable[..., Any], endpoints: Endpoints, tmp_path: Path
) -> None:
    broken = build_run()
    healthy = broken.create(broken.config.model_copy(update={"name": "healthy"}))
    with broken.engine.begin() as conn:
        conn.execute(
            text("UPDATE run SET config = config || '{\"key_of_a_newer_version\": 1}' WHERE id = :id"),
            {"id": broken.id},
        )
    worker = Worker(broken.engine, tmp_path)
    with wake_ups.application(endpoints.broker_url, "tests") as app:
        reconcile(worker, app)
    with broken.engine.connect() as conn:
        held = [each.sentence for each in reporting.why_waiting(conn, broken.id)]
        assert reporting.status(conn, healthy).stages[0].ready == 8
    assert len(held) == 1
    assert held[0].startswith("The last look at run small failed: ")
    assert "key_of_a_newer_version" in held[0]
    with broken.engine.begin() as conn:
        conn.execute(text("UPDATE run SET config = config - 'key_of_a_newer_version'"))
    with wake_ups.application(endpoints.broker_url, "tests") as app:
        reconcile(worker, app)
    assert broken.state()[0] == "waiting"
    assert broken.rows("SELECT blocked_reason FROM run WHERE blocked_reason IS NOT NULL") == []
