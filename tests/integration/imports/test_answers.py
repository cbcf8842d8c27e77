"""Importing answers into a real Postgres, and the run that stands on them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import runs
from persyn.config import parse_run
from persyn.errors import ConfigError, InputError
from persyn.imports import source_pass
from persyn.imports.answers import AnswerImport, import_answers
from persyn.imports.prompts import import_prompts
from persyn.stages import pipeline
from persyn.states import Stage


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def make_run(engine: Engine, tmp_path: Path, **quality: Any) -> int:
    """A run of two teachers without a model, over six prompts, whose quality has this scorer."""
    rows = [{"id": f"p{n}", "prompt": f"{n}+1?"} for n in range(5)] + [{"id": "p4", "prompt": "again?"}]
    import_prompts(engine, "set", [write(tmp_path / "prompts.jsonl", rows)])
    raw = {
        "name": "run", "prompts": "set", "student": {"name": "s", "model": "m"},
        "teachers": [{"name": name, "family": "f"} for name in ("small", "large")],
        "scorers": {"quality": quality}, "calibration": {"size": 4},
    }  # fmt: skip
    with engine.begin() as conn:
        return runs.create(conn, parse_run(raw, source="test"))


@pytest.fixture
def run_id(engine: Engine, tmp_path: Path) -> int:
    return make_run(engine, tmp_path, kind="imported")


def rows(engine: Engine, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement), values)]


def counts(report: AnswerImport) -> tuple[int, ...]:
    return report.imported, report.duplicates, report.scored, report.rejected


def reasons(report: AnswerImport) -> dict[int, str]:
    assert report.rejects_path is not None
    return {entry["line"]: entry["reason"] for entry in map(json.loads, report.rejects_path.read_text().splitlines())}


def answer(n: int, **responses: Any) -> dict[str, Any]:
    return {"id": f"p{n}", "responses": responses}


def test_answers_are_generations_and_their_quality_scores_that_name_their_file(
    engine: Engine, run_id: int, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a.jsonl",
        [
            answer(0, small={"text": "1", "quality": 1}, large={"text": "one", "quality": 0.25}),
            {"prompt": "1+1?", "responses": {"small": "2"}},
        ],
    )
    assert counts(import_answers(engine, run_id, [source])) == (3, 0, 2, 0)
    found = rows(engine, """
        SELECT p.external_id, t.name, g.text, g.origin, i.path, length(i.sha256), s.value, s.import_id = g.import_id
        FROM generation g JOIN prompt p ON p.id = g.prompt_id JOIN teacher t ON t.id = g.teacher_id
        JOIN generation_import i ON i.id = g.import_id LEFT JOIN score s ON s.generation_id = g.id ORDER BY g.id
    """)  # fmt: skip
    assert found == [
        ("p0", "small", "1", "imported", source, 64, 1.0, True),
        ("p0", "large", "one", "imported", source, 64, 0.25, True),
        ("p1", "small", "2", "imported", source, 64, None, None),
    ]
    assert rows(engine, "SELECT * FROM audit.integrity WHERE violations <> 0") == []
    trail = rows(engine, "SELECT detail ->> 'import' FROM audit.prompt_trail WHERE what = 'answered'")
    assert set(trail) == {(source,)}


def test_the_same_file_again_adds_nothing(engine: Engine, run_id: int, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [answer(0, small={"text": "1", "quality": 1}, large="one")])
    import_answers(engine, run_id, [source])
    assert counts(import_answers(engine, run_id, [source])) == (0, 2, 0, 0)


def test_what_does_not_fit_is_refused_line_by_line_and_the_rest_is_kept(
    engine: Engine, run_id: int, tmp_path: Path
) -> None:
    before = [answer(3, small={"text": "4", "quality": 1}), answer(2, large={"text": "3", "quality": 1})]
    import_answers(engine, run_id, [write(tmp_path / "before.jsonl", before)])
    source = write(
        tmp_path / "a.jsonl",
        [
            answer(0, huge="1"),
            answer(9, small="1"),
            answer(4, small="5"),
            answer(1, small="2"),
            answer(1, small="two"),
            answer(2, small={"text": "3", "quality": 7}),
            "{broken",
            answer(3, small="vier"),
            answer(2, large={"text": "3", "quality": 0}),
            {"prompt": "again?", "responses": {"small": "kept"}},
            {"id": "p0", "prompt": "0 + 1?", "responses": {"small": "1"}},
        ],
    )
    report = import_answers(engine, run_id, [source])
    assert counts(report) == (2, 0, 0, 9)
    found = reasons(report)
    expected = {
        1: "no teacher of this name",
        2: "no such prompt",
        3: "several prompts of the set have this id",
        5: "answered already in line 4",
        6: "quality 7 is outside",
        7: "broken JSON",
        8: "another answer of this teacher already",
        9: "another quality already",
        11: "the prompt of this id has another text",
    }
    assert found.keys() == expected.keys()
    for line, words in expected.items():
        assert words in found[line]


def test_strict_imports_nothing_where_anything_is_refused(engine: Engine, run_id: int, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [answer(0, small="1"), answer(9, small="1")])
    with pytest.raises(InputError, match="nothing was imported"):
        import_answers(engine, run_id, [source], strict=True)
    assert rows(engine, "SELECT count(*) FROM generation") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM generation_import") == [(0,)]


def test_a_question_that_an_import_answers_is_not_asked_any_more(engine: Engine, run_id: int, tmp_path: Path) -> None:
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    assert pipeline.advance(engine, run_id).new_jobs == 8
    everything = [{"prompt": f"{n}+1?", "responses": {"small": "a", "large": "b"}} for n in range(5)]
    everything.append({"prompt": "again?", "responses": {"small": "a", "large": "b"}})
    import_answers(engine, run_id, [write(tmp_path / "a.jsonl", everything)])
    assert rows(engine, "SELECT DISTINCT state FROM job") == [("cancelled",)]
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.SCORE)
    assert pipeline.advance(engine, run_id).new_jobs == 8, "learnability only: quality has no job where it is imported"
    assert rows(engine, "SELECT DISTINCT kind, queue FROM job WHERE state = 'ready'") == [
        ("score", "score.learnability")
    ]
    assert rows(engine, "SELECT * FROM audit.integrity WHERE violations <> 0") == []


def test_no_statement_of_an_import_grows_with_the_set(
    engine: Engine, run_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_list: list[int]
) -> None:
    monkeypatch.setattr(source_pass, "AT_ONCE", 2)
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(engine, run_id)
    longest_list.clear()
    good = [{"prompt": f"{n}+1?", "responses": {"small": "a", "large": "b"}} for n in range(5)]
    bad = [{"prompt": f"{n} is no prompt", "responses": {"small": "a", "large": "b"}} for n in range(5)]
    report = import_answers(engine, run_id, [write(tmp_path / "a.jsonl", [*good, *bad])])
    assert counts(report) == (10, 0, 0, 10)
    assert list(reasons(report)) == [6, 7, 8, 9, 10]
    assert rows(engine, "SELECT state, count(*) FROM job GROUP BY 1 ORDER BY 1")[0][0] == "cancelled"
    assert rows(engine, "SELECT * FROM audit.integrity WHERE violations <> 0") == []
    assert max(longest_list) == 2


def test_a_public_shape_brings_its_answers_and_the_scores_in_range(engine: Engine, run_id: int, tmp_path: Path) -> None:
    completions = [
        {"model": "small", "response": "1", "overall_score": 0.5},
        {"model": "large", "response": "one", "overall_score": 8.5},
    ]
    source = write(tmp_path / "a.jsonl", [{"instruction": "0+1?", "completions": completions}])
    report = import_answers(engine, run_id, [source])
    assert (counts(report), [taken.shape for taken in report.shapes]) == ((1, 0, 1, 1), ["ultrafeedback"])
    assert str(report.first_reason).endswith("line 1: large: quality 8.5 is outside of 0 to 1")
    assert report.notes == ()


def test_scores_that_a_run_takes_none_of_are_told(engine: Engine, tmp_path: Path) -> None:
    run_id = make_run(engine, tmp_path, kind="judge", model="m", endpoint={"url": "http://127.0.0.1:1"})
    completions = [{"model": "small", "response": "1", "overall_score": 8.5}]
    report = import_answers(
        engine, run_id, [write(tmp_path / "a.jsonl", [{"instruction": "0+1?", "completions": completions}])]
    )
    assert counts(report) == (1, 0, 0, 0)
    assert report.notes == (
        "The scores in the file were left out: the run has no quality scorer of the kind imported.",
    )


def test_the_answers_of_a_source_may_be_given_to_a_teacher(engine: Engine, run_id: int, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    source = write(tmp_path / "a.jsonl", [{"messages": chat}, {"instruction": "2+1?", "input": "", "output": "3"}])
    assert counts(import_answers(engine, run_id, [source], answers_as="large")) == (2, 0, 0, 0)
    found = rows(engine, "SELECT g.text, t.name FROM generation g JOIN teacher t ON t.id = g.teacher_id ORDER BY g.id")
    assert found == [("2", "large"), ("3", "large")]
    with pytest.raises(ConfigError, match="it has small, large"):
        import_answers(engine, run_id, [source], answers_as="huge")
    nameless = import_answers(engine, run_id, [source])
    assert nameless.came_to_nothing
    assert "--answers-as" in (nameless.first_reason or "")
