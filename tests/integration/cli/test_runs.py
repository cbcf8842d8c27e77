"""Ending, resuming and deleting a run, and a person's prompts, as commands."""

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from persyn import jobs
from persyn.cli import context, main
from persyn.errors import PersynError
from persyn.services import Endpoints

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun


class Terminal:
    def __init__(self, run: "SmallRun") -> None:
        self.run = run

    def call(self, *arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(main.app, arguments, input=answer)

    def says(self, *arguments: str) -> str:
        done = self.call(*arguments)
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    def refuses(self, *arguments: str) -> str:
        done = self.call(*arguments)
        assert isinstance(done.exception, PersynError), done.output
        return str(done.exception)


@pytest.fixture
def terminal(small_run: "SmallRun", endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # A process of its own would take a second a command; this way the test's engine is closed at its end, too.
    monkeypatch.setattr(context, "engine", lambda **_: small_run.engine)
    monkeypatch.setattr(context, "endpoints", lambda: endpoints)
    return Terminal(small_run)


def test_runs_are_listed_with_their_states_and_reasons(terminal: Terminal) -> None:
    terminal.run.advance()
    (listed,) = json.loads(terminal.says("runs", "--json"))
    assert (listed["name"], listed["state"], listed["open"], listed["dead"]) == ("small", "waiting", 8, 0)
    assert "waiting" in terminal.says("runs")


def test_a_run_is_cancelled_told_and_resumed(terminal: Terminal) -> None:
    terminal.run.advance()
    asked = terminal.call("runs", "cancel", "small", answer="n\n")
    assert "8 jobs are cancelled. Go on?" in asked.output
    assert terminal.run.state()[0] == "waiting"
    assert "Run small is cancelled, 8 jobs with it." in terminal.says("runs", "cancel", "small", "--yes")
    said = terminal.says("status", "small")
    assert "(cancelled)" in said
    assert "is paused" not in said
    assert "`persyn runs resume small` lets it go on" in terminal.refuses("generate", "small")
    assert "is cancelled already" in terminal.refuses("runs", "cancel", "small", "--yes")
    assert "8 cancelled jobs are ready again" in terminal.says("runs", "resume", "small")
    assert terminal.run.state()[0] == "waiting"


def test_cancelling_all_jobs_of_a_run_ends_it(terminal: Terminal) -> None:
    terminal.run.advance()
    assert "8 jobs are cancelled, and run small" in terminal.says("jobs", "cancel", "--run", "small", "--yes")
    terminal.run.advance()
    assert terminal.run.state()[0] == "cancelled"
    assert terminal.run.rows("SELECT count(*) FROM job WHERE state = 'ready'") == [(0,)]


def test_a_run_is_deleted_after_its_size_was_told(terminal: Terminal) -> None:
    terminal.run.work()
    asked = " ".join(terminal.call("runs", "delete", "small", answer="n\n").output.split())
    assert "Run small: 12 answers, 24 scores," in asked
    assert terminal.run.rows("SELECT count(*) FROM run") == [(1,)]
    assert "Run small is deleted." in terminal.says("runs", "delete", "small", "--yes")
    assert "There is no run 'small'" in terminal.refuses("status", "small")


def test_a_persons_prompts_are_deleted(terminal: Terminal) -> None:
    terminal.run.work()
    assert "Say which" in terminal.refuses("prompts", "delete", "--set", "set", "--yes")
    assert "no such prompt" in terminal.refuses("prompts", "delete", "p99", "--set", "set", "--yes")
    assert "2 prompts are deleted." in terminal.says("prompts", "delete", "p0", "p1", "--set", "set", "--yes")
    assert terminal.run.rows("SELECT count(*) FROM prompt") == [(6,)]
    said = terminal.says("prompts", "delete", "p2", "--set", "set", "--yes")
    assert "Of the set set: 1 prompt, " in said
    assert "1 prompt is deleted." in said
    assert "Runs stand on the set" in terminal.refuses("prompts", "delete", "--all", "--set", "set", "--yes")
    assert terminal.run.rows("SELECT count(*) FROM prompt") == [(5,)]


def test_old_events_are_pruned(terminal: Terminal) -> None:
    terminal.run.work()
    with terminal.run.engine.begin() as conn:
        conn.execute(text("UPDATE run SET finished_at = '2020-01-01'"))
    said = terminal.says("db", "prune", "--older-than", "90d", "--yes")
    assert "job_event" in said
    assert terminal.run.rows("SELECT count(*) FROM job_event") == [(0,)]


def test_status_says_what_a_run_waits_for(terminal: Terminal) -> None:
    terminal.run.advance()
    assert "8 jobs wait, and no worker runs" in terminal.says("status", "small")
    assert "8 jobs wait, and no worker runs" in terminal.says("workers")
    (told,) = json.loads(terminal.says("status", "small", "--json"))["waiting_for"]
    assert told.startswith("8 jobs wait")


def test_a_failed_stage_is_refused_with_the_way_on_and_retried(terminal: Terminal) -> None:
    terminal.run.advance()
    terminal.run.answer("b")
    terminal.run.kill("teacher.a", "bad_request", permanent=True)
    terminal.run.advance()
    terminal.run.score()
    told = terminal.refuses("calibrate", "small")
    assert told.startswith("Run small failed: the teacher a gave no usable answer to 4 calibration prompts")
    assert "--retry gives its 4 dead jobs a fresh start" in told
    assert terminal.run.state()[0] == "failed"


def test_a_dead_job_is_counted_once_under_what_ended_it(terminal: Terminal) -> None:
    terminal.run.advance()
    with terminal.run.engine.begin() as conn:
        lease_id, claims = terminal.run.claim(conn, "teacher.a", 1)
        jobs.fail(conn, lease_id, [jobs.Failure(claims[0].id, "timeout", "slow", False)])
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE id = :id"), {"id": claims[0].id})
    terminal.run.kill("teacher.a", "bad_request", permanent=True, limit=1)
    dead = terminal.run.rows("SELECT error_code, dead_now FROM audit.failures ORDER BY error_code")
    assert [tuple(row) for row in dead] == [("bad_request", 1), ("timeout", 0)]
