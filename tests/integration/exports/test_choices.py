"""Another policy's choices in a run that has its answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from persyn import reporting
from persyn.config import Export
from persyn.errors import ConfigError
from persyn.exports.write import export_run


def teachers(tables: Any, folder: Path, policy: Any) -> tuple[list[str], dict[str, int]]:
    manifest = export_run(tables.engine, tables.run_id, folder, policy=policy)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert manifest.policy == policy
    return [f"{row['external_id']} {row['teacher']}" for row in rows], manifest.missing


@pytest.fixture
def measured(make_tables: Any) -> Any:
    """Two calibration prompts that both teachers answered, and two others with one answer each."""
    tables = make_tables(4, scorers={"quality": {"kind": "imported"}})
    tables.calibrate(0, 1)
    for prompt, small, large in ((0, 0.9, 0.5), (1, 0.0, 0.8)):
        tables.answer(prompt, "small", f"small {prompt}", quality=small, learnability=-0.5)
        tables.answer(prompt, "large", f"large {prompt}", quality=large, learnability=-0.5)
    for prompt, teacher in ((2, "large"), (3, "small")):
        tables.decide(prompt, teacher)
        tables.answer(prompt, teacher, f"{teacher} {prompt}")
    return tables


def test_the_policy_of_the_run_takes_its_decisions(measured: Any, tmp_path: Path) -> None:
    assert teachers(measured, tmp_path, "persyn") == (["2 large", "3 small"], {"not_routed": 2})


def test_a_policy_without_a_router_decides_anew_from_what_was_measured(measured: Any, tmp_path: Path) -> None:
    """`large` is the stronger; the calibration prompts keep their best answers."""
    assert teachers(measured, tmp_path, "strong") == (["0 small", "1 large", "2 large"], {"not_asked": 1})


def test_the_oracle_takes_the_best_measured_answers(measured: Any, tmp_path: Path) -> None:
    assert teachers(measured, tmp_path, "oracle") == (["0 small", "1 large"], {"not_routed": 2})


def test_larks_gain_is_among_the_teachers_answers_to_a_calibration_prompt(make_tables: Any, tmp_path: Path) -> None:
    """By their own ratios the small teacher's answer is the easier one, by ĝ the large one's (test_combine.py)."""
    tables = make_tables(4, scorers={"learnability": {"kind": "lark"}}, alpha=1.0)
    tables.calibrate(0)
    tables.answer(0, "small", "small", learnability=0.8, loss=1.0)
    tables.answer(0, "large", "large", learnability=0.5, loss=3.0)
    export = Export(columns=["learnability", "reward"])
    export_run(tables.engine, tables.run_id, tmp_path, export, policy="oracle")
    (row,) = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert (row["teacher"], row["reward"], row["learnability"]) == ("large", 1.0, pytest.approx(0.31875))


def test_larks_gain_is_among_the_answers_that_a_prompt_got_one_after_the_other(
    make_tables: Any, tmp_path: Path
) -> None:
    tables = make_tables(4, scorers={"learnability": {"kind": "lark"}}, alpha=1.0, reroute="on")
    tables.decide(0, "small")
    tables.answer(0, "small", "small", learnability=0.8, loss=1.0)
    tables.answer(0, "large", "large", learnability=0.5, loss=3.0)
    tables.decide(1, "small")
    tables.answer(1, "small", "alone", learnability=0.8, loss=1.0)
    tables.reroute(0, "large")
    export_run(tables.engine, tables.run_id, tmp_path, Export(columns=["learnability", "reward"]))
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [(row["teacher"], row["learnability"]) for row in rows] == [
        ("large", pytest.approx(0.31875)),
        ("small", 0.8),
    ]
    with tables.engine.connect() as connection:
        samples = reporting.prompt_trail(connection, "first", "0").samples
    assert [(one.learnability, one.reward, one.best) for one in samples] == [
        (pytest.approx(0.25625), 0.0, False), (pytest.approx(0.31875), 1.0, True),
    ]  # fmt: skip


def test_a_random_policy_decides_the_same_each_time(measured: Any, tmp_path: Path) -> None:
    assert teachers(measured, tmp_path / "a", "random") == teachers(measured, tmp_path / "b", "random")


def test_stored_decisions_of_another_policy_are_taken_as_they_are(measured: Any, tmp_path: Path) -> None:
    measured.decide(3, "small", policy="budgeted")
    assert teachers(measured, tmp_path, "budgeted") == (["3 small"], {"not_routed": 3})


def test_a_policy_that_needs_a_router_needs_a_run_of_its_own(measured: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--policy budgeted: the run first has no decisions of it.*another name"):
        export_run(measured.engine, measured.run_id, tmp_path, policy="budgeted")


def test_a_policy_that_the_configuration_does_not_allow_says_why(measured: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--policy family_strong: student\.family"):
        export_run(measured.engine, measured.run_id, tmp_path, policy="family_strong")
