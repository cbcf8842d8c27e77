"""Rows in the order of the student's loss on their answers: in the files, the same again, and refused where unknown."""

import json
from pathlib import Path
from typing import Any

import pytest

from persyn.config import Export
from persyn.errors import ConfigError
from persyn.exports.write import export_run


@pytest.fixture(params=["off", "on"])  # on: a prompt may have several answers, which are read in another way
def scored(make_tables: Any, request: pytest.FixtureRequest) -> Any:
    """Five prompts with an answer each; one has no score, and two are equally hard."""
    tables = make_tables(5, reroute=request.param)
    for prompt, value in enumerate((-2.0, None, -0.5, -2.0, -3.0)):
        tables.decide(prompt, "small")
        tables.answer(prompt, "small", f"it is {prompt + 1}", learnability=value)
    return tables


def order(folder: Path) -> str:
    return " ".join(json.loads(line)["external_id"] for line in (folder / "train.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "expected"), [("given", "0 1 2 3 4"), ("easy_first", "2 0 3 4 1"), ("hard_first", "4 0 3 2 1")]
)
def test_rows_come_by_the_students_loss_and_those_without_one_last(
    scored: Any, name: Any, expected: str, tmp_path: Path
) -> None:
    manifest = export_run(scored.engine, scored.run_id, tmp_path / "a", Export(order=name))
    assert (order(tmp_path / "a"), manifest.order) == (expected, name)
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["order"] == name
    export_run(scored.engine, scored.run_id, tmp_path / "b", Export(order=name))
    for file in ("train.jsonl", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_each_split_is_in_order(scored: Any, tmp_path: Path) -> None:
    export_run(scored.engine, scored.run_id, tmp_path, Export(order="easy_first", validation=0.4))
    found = [
        [json.loads(line)["external_id"] for line in (tmp_path / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation")
    ]
    assert sorted(found[0] + found[1]) == [*"01234"]
    assert all(part == [one for one in "20341" if one in part] for part in found)


def test_of_several_answers_the_one_that_is_taken_counts(make_tables: Any, tmp_path: Path) -> None:
    tables = make_tables(4, reroute="on")
    for prompt, value in ((0, -1.0), (1, -2.0)):
        tables.decide(prompt, "small")
        tables.answer(prompt, "small", "wrong" if prompt == 0 else "right", quality=float(prompt), learnability=value)
    # The first prompt's second answer is right and harder than the other prompt's.
    tables.answer(0, "large", "right at last", quality=1.0, learnability=-4.0)
    tables.reroute(0, "large")
    manifest = export_run(tables.engine, tables.run_id, tmp_path, Export(order="easy_first"))
    assert (order(tmp_path), manifest.passed_over) == ("1 0", 1)


def test_a_run_without_the_log_likelihood_is_refused_before_anything_is_written(
    make_tables: Any, tmp_path: Path
) -> None:
    tables = make_tables(4, scorers={"learnability": {"kind": "ifd"}})
    with pytest.raises(ConfigError, match=r"--order easy_first: .*no measure of this run is loglik\..*\.$"):
        export_run(tables.engine, tables.run_id, tmp_path / "out", Export(order="easy_first"))
    assert list((tmp_path / "out").iterdir()) == []
