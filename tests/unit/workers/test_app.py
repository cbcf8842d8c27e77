"""A wake-up that finds no database is a line in the log, and the next one is taken as if nothing had been."""

import logging
from pathlib import Path

import pytest
from sqlalchemy.exc import ProgrammingError

from persyn.db import session
from persyn.workers.app import drain_next
from persyn.workers.worker import Worker


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(session.connect("postgresql://persyn@127.0.0.1:1/persyn"), tmp_path)


def test_a_wake_up_while_the_database_is_away_is_one_line(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    assert not drain_next(worker), "nothing was drained, so nothing has changed"
    (record,) = [record for record in caplog.records if record.name == "persyn.workers.app"]
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert "the database went away" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_statement_that_is_wrong_keeps_its_traceback(
    worker: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ProgrammingError("SELECT nope", {}, Exception("no such column"))

    def take_queue() -> str:
        raise error

    monkeypatch.setattr(worker, "take_queue", take_queue)
    drain_next(worker)
    (record,) = [record for record in caplog.records if record.name == "persyn.workers.app"]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
