"""`persyn student`: what a person reads who asks for a training, looks at it, and takes the student away."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from persyn.cli import context, main
from persyn.errors import ConfigError, NotFound
from persyn.jobs import operators
from persyn.workers.train import drain_trainings
from persyn.workers.worker import Worker

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

RUN = CliRunner()
SPEAKING = """
UPDATE prompt SET messages = jsonb_build_array(jsonb_build_object('role', 'user', 'content', md5(id::text)))
"""


@pytest.fixture
def run(
    build_run: "Callable[..., SmallRun]", tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "SmallRun":
    run = build_run(student={"name": "s", "model": tiny_model, "training": {"epochs": 1}})
    monkeypatch.setattr(context, "engine", lambda: run.engine)
    monkeypatch.setenv("PERSYN_HOME", str(tmp_path / "home"))
    with run.engine.begin() as conn:
        conn.execute(text(SPEAKING))
    run.work()
    return run


def say(*arguments: str) -> str:
    done = RUN.invoke(main.app, ["student", *arguments], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.exception
    return done.output


def refusal(*arguments: str) -> Any:
    return RUN.invoke(main.app, ["student", *arguments]).exception


def test_a_student_is_asked_for_trained_listed_and_saved(run: "SmallRun", tmp_path: Path) -> None:
    assert "No training was asked for." in say("list", "small")
    [job] = [line for line in say("train", "small", "--seed", "5").splitlines() if line.startswith("Job")]
    assert job.endswith("trains the student on 8 answers, by the policy random, seed 5.")
    assert "job " in (twice := say("train", "small", "--seed", "5"))
    assert "was asked for before, by the policy random, seed 5" in twice
    assert "waiting" in say("list", "small")
    (tmp_path / "home").mkdir(exist_ok=True)
    drain_trainings(Worker(run.engine, tmp_path / "home"))
    [found] = json.loads(say("list", "small", "--json"))
    assert (found["rows"], found["seed"], found["policy"], found["job_state"]) == (8, 5, "random", "done")
    assert found["tokens"] > 0
    assert f"{found['final_loss']:.3f}" in say("list", "small")
    number = str(found["model_id"])
    assert f"Student {number} was trained on these answers already" in say("train", "small", "--seed", "5")
    assert str(tmp_path / "out") in say("save", number, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_training_that_was_taken_back_says_how_to_give_it_back(run: "SmallRun") -> None:
    say("train", "small")
    operators.cancel(run.engine, operators.Filter(run_id=run.id))
    assert "is cancelled" in say("train", "small")


def test_mistakes_get_a_sentence(run: "SmallRun", tmp_path: Path) -> None:
    assert isinstance(refusal("train", "nobody"), NotFound)
    untrained = RUN.invoke(main.app, ["student", "examine", "small", "--prompts", "set"]).exception
    assert isinstance(untrained, ConfigError)
    assert "is the set that run small learns from" in str(untrained)
    assert "--policy: got 'best'" in str(refusal("train", "small", "--policy", "best"))
    missing = refusal("save", "7", "-o", str(tmp_path / "x"))
    assert str(missing) == "There is no trained student 7. `persyn student list RUN` lists a run's."
    assert isinstance(refusal("save", "7", "-o", str(tmp_path)), ConfigError)
