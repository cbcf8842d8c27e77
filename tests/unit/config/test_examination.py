"""An examination as a run, made of a run's configuration alone."""

from typing import Any

import pytest

from persyn.config import RunConfig, parse_run
from persyn.config.examination import examination, gives_shares, name
from persyn.errors import ConfigError

SHA = "a" * 64


def config(**changes: Any) -> RunConfig:
    teachers = [
        {"name": "own", "model": "m", "server": {"kind": "transformers", "dtype": "float32"}},
        {"name": "large", "model": "l", "system_prompt": "Think."},
    ]
    student = {"name": "pupil", "model": "m", "revision": "main", "max_length": 300, "training": {"epochs": 2}}
    given = {"name": "run", "prompts": "set", "student": student, "teachers": teachers, "policy": "car"}
    return parse_run(given | changes, source="test")


def test_the_base_and_the_student_answer_every_prompt_greedily() -> None:
    made = examination(config(), "exam", 7, SHA, 99, 40)
    assert (made.name, made.prompts, made.policy, made.alpha) == ("student-7.exam", "exam", "strong", 0.0)
    assert [(one.name, one.model, one.revision) for one in made.teachers] == [
        ("pupil", "m", "main"), ("student-7", "student:7", SHA),
    ]  # fmt: skip
    for teacher in made.teachers:
        assert (teacher.sampling.temperature, teacher.sampling.max_tokens) == (0.0, 99)
        assert (teacher.system_prompt, teacher.server.kind) == (None, "transformers")
    assert (made.calibration.size, made.calibration.missing_at_most) == (40, 1.0)
    assert made.scorers.quality == config().scorers.quality
    assert made.scorers.score == "calibration"
    assert made.measures() == []
    assert (made.rerouting, made.student.training) == (None, None)


def test_the_base_is_the_same_teacher_in_each() -> None:
    one, other = (examination(config(), "exam", number, SHA, 99, 40) for number in (7, 8))
    assert one.teachers[0].identity() == other.teachers[0].identity()
    assert one.teachers[1].identity() != other.teachers[1].identity()


def test_a_student_that_no_teacher_is_is_served_by_default() -> None:
    student = {"name": "student-7", "model": "another"}
    made = examination(config(student=student), "exam", 7, SHA, 99, 40)
    assert [teacher.server.kind for teacher in made.teachers] == ["auto", "auto"]
    assert [teacher.name for teacher in made.teachers] == ["base", "student-7"]


def test_a_long_name_of_a_set_is_cut() -> None:
    assert len(name(7, "x" * 63)) == 63
    assert examination(config(), "x" * 63, 7, SHA, 9, 4).prompts == "x" * 63


def test_weights_of_scorers_stay_and_imported_ones_go() -> None:
    scorers = {"quality": [{"kind": "imported", "source": "a"}, {"kind": "math_verify", "weight": 0.5}]}
    assert [one.weight for one in examination(config(scorers=scorers), "exam", 7, SHA, 9, 4).scorers.quality] == [0.5]
    assert gives_shares(config(scorers=scorers))
    with pytest.raises(ConfigError):
        examination(config(scorers={"quality": {"kind": "imported"}, "score": "calibration"}), "exam", 7, SHA, 9, 4)
