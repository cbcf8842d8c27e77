"""The student's training is no part of a run, may come late, and says what it does not understand."""

from typing import Any

import pytest

from persyn.config import RunConfig, Student, StudentTraining, parse_run
from persyn.config.training import Lora
from persyn.errors import ConfigError

STUDENT = {"name": "s", "model": "m"}


def run(**training: Any) -> RunConfig:
    teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("a", "b")]
    student = STUDENT | ({"training": training} if training else {})
    return parse_run({"name": "r", "prompts": "p", "student": student, "teachers": teachers}, source="run.yaml")


def test_a_run_without_it_keeps_the_hash_that_it_had_before_there_was_such_a_section() -> None:
    assert "training" not in run().model_dump(mode="json")["student"]
    assert run(epochs=2).sha256() != run().sha256()


def test_it_changes_neither_the_run_nor_a_score() -> None:
    assert run(epochs=2).identity() == run(method="lora").identity() == run().identity()
    assert Student(**STUDENT, training=StudentTraining(epochs=2)).identity() == Student(**STUDENT).identity()
    assert run(epochs=2).router_identity() == run().router_identity()


def test_it_is_read_back_as_it_was_given() -> None:
    config = run(method="lora", lora={"rank": 4}, seed=3)
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_hyperparameters_are_what_changes_the_weights() -> None:
    plain = StudentTraining().hyperparameters()
    assert plain["learning_rate"] == 2e-5
    assert StudentTraining(method="lora").hyperparameters()["learning_rate"] == 2e-4
    same = StudentTraining(learning_rate=2e-5, seed=3, checkpoint_steps=7, gradient_checkpointing=True)
    assert same.hyperparameters() == plain
    assert StudentTraining(batch_size=5).hyperparameters() != plain
    assert StudentTraining(method="lora", lora=Lora(rank=2)).hyperparameters()["lora"] == {"rank": 2, "alpha": 32}


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        ({"method": "qlora"}, "student.training.method: got 'qlora'"),
        ({"epochs": 0}, "student.training.epochs: got 0"),
        ({"warmup": 1.0}, "student.training.warmup: got 1.0"),
        ({"lora": {"rank": 4}}, "lora: the method full does not read it"),
        ({"learnin_rate": 1}, "student.training.learnin_rate"),
    ],
)
def test_a_mistake_gets_a_sentence(training: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(**training)
