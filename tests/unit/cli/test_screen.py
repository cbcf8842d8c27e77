"""Progress in a file: at once, whenever something new holds the run up, and without control codes."""

from datetime import UTC, datetime

import pytest

from persyn import reporting
from persyn.cli.screen import Lines, done_of, losses, summary

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def status(*stages: reporting.StageStatus, finished: bool = False) -> reporting.RunStatus:
    end = NOW if finished else None
    state = "finished" if finished else "in progress"
    return reporting.RunStatus(1, "shop", "random", NOW, end, state, "", 40, 10, list(stages))


CALIBRATE = reporting.StageStatus("calibrate", total=60, ready=20, leased=7, done=30, dead=1, cancelled=2)
ROUTE = reporting.StageStatus("route", total=1, ready=0, leased=1, done=0, dead=0, cancelled=0)


def test_dead_and_cancelled_jobs_are_not_shown_as_done() -> None:
    assert done_of(CALIBRATE, status(CALIBRATE)) == (30, 58)
    assert losses(CALIBRATE) == "1 dead, 2 cancelled"
    assert summary(status(CALIBRATE, ROUTE)) == (
        "run shop (in progress): calibrate 30/58 (1 dead, 2 cancelled), route 10/40"
    )


def test_decisions_that_come_all_at_once_are_shown_by_their_ranges() -> None:
    ranges = reporting.StageStatus("route", total=12, ready=7, leased=2, done=3, dead=0, cancelled=0)
    assert done_of(ranges, status(ranges)) == (10, 40)
    assert done_of(ranges, status(ranges)._replace(policy="budgeted")) == (3, 12)


def test_a_file_gets_a_line_at_once_and_one_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.show(status(), [])
    lines.show(status(), [])
    lines.show(status(), ["no \x1b[31mworker[/red] runs"])
    lines.show(status(), ["no \x1b[31mworker[/red] runs"])
    lines.show(status(CALIBRATE), ["no \x1b[31mworker[/red] runs"])
    lines.show(status(CALIBRATE, finished=True), [])
    said = [line[9:] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "run shop (in progress): no jobs yet",
        "run shop (in progress): no jobs yet",
        r"  no \x1b[31mworker[/red] runs",
        "run shop (in progress): calibrate 30/58 (1 dead, 2 cancelled)",
        "run shop (finished): calibrate 30/58 (1 dead, 2 cancelled)",
    ]
