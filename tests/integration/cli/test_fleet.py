"""The operators' commands, as they are typed."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine
from typer.testing import CliRunner

from persyn import jobs, runs
from persyn.cli import context, main, terminal
from persyn.cli.fleet import seconds
from persyn.config import parse_run
from persyn.errors import ConfigError, PersynError
from persyn.imports.prompts import import_prompts
from persyn.jobs import workers
from persyn.stages import pipeline
from persyn.states import Stage


@pytest.mark.parametrize(
    ("given", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800), ("3h50m", 13_800)]
)
def test_a_length_of_time_is_read(given: str, expected: float) -> None:
    assert seconds(given) == expected


@pytest.mark.parametrize("given", ["", "10", "m", "-5m", "0s", "10 m", "1w", "3h50"])
def test_what_is_no_length_of_time_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="90s, 10m"):
        seconds(given)


class Desk:
    """An operator's terminal on a run whose four calibration prompts wait for two teachers."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        source = folder / "prompts.jsonl"
        lines = [{"id": f"p{number}", "prompt": f"{number}?", "reference_answer": "1"} for number in range(4)]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        import_prompts(engine, "set", [str(source)])
        teacher = {"family": "f", "params_b": 1, "model": "m"}
        config = {
            "name": "first", "prompts": "set", "student": {"name": "pupil", "model": "m"},
            "teachers": [{"name": "small"} | teacher, {"name": "large"} | teacher], "calibration": {"size": 4},
        }  # fmt: skip
        with engine.begin() as conn:
            run_id = runs.create(conn, parse_run(config, source="test"))
            runs.aim(conn, run_id, Stage.CALIBRATE)
        pipeline.advance(engine, run_id)

    def says(self, *arguments: str) -> str:
        done = CliRunner().invoke(main.app, arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def refuses(self, *arguments: str) -> str:
        done = CliRunner().invoke(main.app, arguments)
        assert isinstance(done.exception, PersynError), done.output
        return str(done.exception)


@pytest.fixture
def desk(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # A process of its own would take a second a command; this way the test's engine is closed at its end, too.
    monkeypatch.setattr(context, "engine", lambda **_: engine)
    return Desk(engine, tmp_path)


def test_a_paused_teacher_and_run_are_shown_with_their_reasons_and_resumed(desk: Desk) -> None:
    desk.says("pause", "--teacher", "small", "--for", "10m", "--reason", "[bold]too many 429s")
    desk.says("pause", "--run", "first", "--reason", "too dear")
    status = " ".join(desk.says("status", "first").split())
    assert "[bold]too many 429s" in status
    assert "too dear" in status
    held = json.loads(desk.says("status", "first", "--json"))["paused"]
    assert [each["reason"] for each in held] == ["[bold]too many 429s", "too dear"]
    with desk.engine.connect() as conn:
        assert jobs.waiting(conn) == {}
    desk.says("resume", "--run", "first")
    assert "goes on" in desk.says("resume", "--teacher", "small")
    assert "was not paused" in desk.says("resume", "--teacher", "small")
    assert "too dear" not in desk.says("status", "first")
    with desk.engine.connect() as conn:
        assert jobs.waiting(conn) == {"teacher.large": 4, "teacher.small": 4}


def test_jobs_are_listed_cancelled_and_told_about(desk: Desk) -> None:
    listed = json.loads(desk.says("jobs", "list", "--teacher", "small", "--json"))
    assert [row["state"] for row in listed] == ["ready"] * 4
    assert "4 jobs are cancelled" in desk.says("jobs", "cancel", "--teacher", "small", "--yes")
    story = desk.says("jobs", "show", str(listed[0]["id"]))
    assert "cancelled" in story.splitlines()[-1]
    assert "There are no dead jobs" in desk.says("jobs", "retry", "--run", "first", "--yes")
    assert json.loads(desk.says("workers", "--json")) == []


def test_eighty_characters_show_whole_names_and_who_left_is_told_apart(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "console", Console(width=80))
    there, left = "gpu-host-17:25964-3f2b0c", "gpu-host-17:25965-aa0c11"
    with desk.engine.begin() as conn:
        for pid, name in enumerate((there, left)):
            workers.started(conn, name, host="gpu-host-17", pid=pid, queues=["teacher.small", "score.quality"])
        workers.stopped(conn, left)
    shown = desk.says("workers")
    assert there in shown
    assert left not in shown
    assert "1 more stopped within a day" in shown
    assert left in desk.says("workers", "--all")


def test_a_question_that_is_not_answered_with_yes_changes_nothing(desk: Desk) -> None:
    done = CliRunner().invoke(main.app, ["jobs", "cancel", "--run", "first"], input="n\n")
    assert "8 jobs to be cancelled" in done.output
    assert json.loads(desk.says("jobs", "list", "--state", "cancelled", "--json")) == []


def test_mistakes_are_one_sentence_each(desk: Desk) -> None:
    assert "one of --teacher" in desk.refuses("pause")
    assert "no teacher 'nobody'" in desk.refuses("pause", "--teacher", "nobody")
    assert "until it is resumed" in desk.refuses("pause", "--run", "first", "--for", "10m")
    assert "Say which" in desk.refuses("jobs", "cancel", "--yes")
    assert "no job 999" in desk.refuses("jobs", "show", "999")
    assert "No worker named 'x:1'" in desk.refuses("worker", "drain", "x:1")
    assert "say what it shall do" in desk.refuses("worker")
