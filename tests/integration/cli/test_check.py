"""`persyn check`, and the same look before a new run: what is printed, how it ends, and that it can be left out."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from sqlalchemy import Engine, text

from persyn.cli import check
from persyn.config import parse_run


@pytest.fixture
def new(site: Any) -> Any:
    """A site whose prompts are imported and whose run is not made yet."""
    site.prepare(prompts=8, calibration=4)
    with site.engine.begin() as conn:
        for table in ("run_scorer", "run_teacher", "run"):
            conn.execute(text(f"DELETE FROM {table}"))
    return site


def changed(site: Any, **changes: Any) -> Path:
    config = json.loads(site.config_file.read_text()) | changes
    path = site.home / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_run_that_can_start_ends_with_0_and_one_that_cannot_with_2(new: Any) -> None:
    right = new.persyn("check", str(new.config_file))
    assert right.returncode == 0, right.stderr
    assert f"run-{new.tag} can start: 19 answers to ask for" in right.stdout
    wrong = new.persyn("check", str(changed(new, student={"name": "pupil", "model": "bundled:no-such"})))
    assert wrong.returncode == 2
    assert "wrong student.model: bundled:no-such: no bundled model of this name." in wrong.stdout
    assert "cannot start: 1 thing is wrong." in wrong.stdout
    assert "Traceback" not in right.stderr + wrong.stderr


def test_the_same_for_programs_is_json_alone(new: Any) -> None:
    found = json.loads(new.persyn("check", str(new.config_file), "--json").stdout)
    assert found["ok"] is True
    assert found["totals"]["answers"] == 19
    assert {stage["stage"] for stage in found["stages"]} == {
        "calibrate", "score", "generate", "score routed", "reroute", "score rerouted",
    }  # fmt: skip


def test_a_dry_run_stops_after_the_check_and_makes_nothing(new: Any) -> None:
    done = new.persyn("run", str(new.config_file), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "can start: 19 answers" in done.stderr
    assert new.scalar("SELECT count(*) FROM run") == 0


def test_a_run_that_cannot_start_is_not_made(new: Any) -> None:
    teachers = json.loads(new.config_file.read_text())["teachers"]
    teachers[0]["model"] = "stub-modell"
    path = changed(new, teachers=teachers)
    refused = new.persyn("run", str(path))
    assert refused.returncode == 2
    assert "Did you mean stub-model?" in refused.stderr
    assert new.scalar("SELECT count(*) FROM run") == 0


def test_a_run_with_a_worker_starts_without_a_question_where_nobody_sits(new: Any) -> None:
    done = new.persyn("run", str(new.config_file), "--with-worker")
    assert done.returncode == 0, done.stderr
    assert "can start" in done.stderr
    asked = sum(new.times_asked().values())
    again = new.persyn("run", str(new.config_file))  # it has begun, and is not checked again
    assert again.returncode == 0, again.stderr
    assert "can start" not in again.stderr
    assert sum(new.times_asked().values()) == asked


def test_at_a_terminal_the_answer_no_makes_no_run(new: Any) -> None:
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "persyn", "run", str(new.config_file)]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=new.environment | {"COLUMNS": "120"}
    )
    os.close(terminal)
    os.write(person, b"n\n")
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal that way
        while part := os.read(person, 4096):
            shown += part
    os.close(person)
    process.communicate(timeout=120)
    assert b"Start this run?" in shown
    assert process.returncode == 0
    assert new.scalar("SELECT count(*) FROM run") == 0


def test_no_check_looks_at_nothing_unless_the_run_is_a_dry_one(engine: Engine) -> None:
    teachers = [{"name": name, "family": "f", "model": "m"} for name in ("a", "b")]
    raw = {"name": "r", "prompts": "no-such-set", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    config = parse_run(raw, source="run.yaml")
    check.before(engine, config, with_worker=False, no_check=True, yes=True, dry_run=False)
    with pytest.raises(typer.Exit):
        check.before(engine, config, with_worker=False, no_check=True, yes=True, dry_run=True)


@pytest.mark.parametrize("step", [["calibrate"], ["router", "train"], ["generate"]])
def test_a_step_on_a_new_yaml_looks_first_and_makes_nothing_where_something_is_wrong(new: Any, step: list[str]) -> None:
    wrong = changed(new, student={"name": "pupil", "model": "bundled:no-such"})
    refused = new.persyn(*step, str(wrong))
    assert refused.returncode == 2
    assert "cannot start: 1 thing is wrong." in refused.stderr
    assert new.scalar("SELECT count(*) FROM run") == 0
