"""What a round that fails leaves in the log: a line for a server that is away, a traceback for what nobody foresaw."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import ProgrammingError

from persyn.db import session
from persyn.jobs import wake_ups
from persyn.workers.check_in import CheckIn
from persyn.workers.maintenance import Maintenance, reconcile
from persyn.workers.worker import Worker

NOWHERE = "127.0.0.1:1"  # a port that refuses
DATABASE_URL = f"postgresql://persyn:secret@{NOWHERE}/persyn"
BROKER_URL = f"redis://:secret@{NOWHERE}/0"


@pytest.fixture
def maintenance(tmp_path: Path) -> Maintenance:
    worker = Worker(session.connect(DATABASE_URL), tmp_path)
    app = wake_ups.application(BROKER_URL, "tests")
    return Maintenance(worker, app, CheckIn(worker, []), lambda: None, follow_teachers=False)


def logged(caplog: pytest.LogCaptureFixture, maintenance: Maintenance, act: Callable[[], None]) -> logging.LogRecord:
    with caplog.at_level(logging.WARNING, "persyn.workers.maintenance"):
        maintenance._try("reconcile", act)
    (record,) = [record for record in caplog.records if record.name == "persyn.workers.maintenance"]
    return record


# The broker's library tries again for six seconds.
@pytest.mark.parametrize("what", ["database", pytest.param("broker", marks=pytest.mark.slow)])
def test_a_server_that_is_away_is_one_line_that_says_what_where_and_what_follows(
    maintenance: Maintenance, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    acts: dict[str, Callable[[], object]] = {
        "database": lambda: reconcile(maintenance._worker, maintenance._app),
        "broker": lambda: wake_ups.wake(maintenance._app, "teacher.t", 1),
    }
    record = logged(caplog, maintenance, lambda: (acts[what](), None)[1])
    said = record.getMessage()
    assert record.exc_info is None
    assert "\n" not in said
    assert f"action=reconcile the {what} at " in said
    assert NOWHERE in said
    assert "refused" in said
    assert said.endswith("tried again within 15 s")
    assert "secret" not in said


@pytest.mark.parametrize("error", [KeyError("role"), ProgrammingError("SELECT nope", {}, Exception("no such column"))])
def test_what_nobody_foresaw_keeps_its_traceback(
    maintenance: Maintenance, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def act() -> None:
        raise error

    record = logged(caplog, maintenance, act)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
