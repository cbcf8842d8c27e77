"""Corrections of stored prompts, and what was scored by the old reference answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs, runs
from persyn.config import parse_run
from persyn.errors import InputError, NotFound
from persyn.imports import source_pass
from persyn.imports.answers import import_answers
from persyn.imports.corrections import update_prompts
from persyn.imports.prompts import import_prompts
from persyn.stages import pipeline, score
from persyn.states import Stage


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def stored(engine: Engine) -> list[Any]:
    return rows(engine, "SELECT external_id, reference_answer, meta FROM prompt ORDER BY position")


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]


def test_prompts_are_corrected_by_their_text_or_by_their_id(engine: Engine, tmp_path: Path) -> None:
    before = [{"id": "a", "prompt": "6*7?", "reference_answer": "41", "level": 1}, {"prompt": "6*8?"}, {"prompt": "x"}]
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", before)])
    after = [{"id": "a", "reference_answer": 42}, {"id": "b", "prompt": "6*8?", "reference_answer": "48", "by": "me"}]
    source = write(tmp_path / "b.jsonl", after)
    report = update_prompts(engine, "math", [source])
    assert (report.updated, report.unchanged, report.rejected, report.scores_removed) == (2, 0, 0, 0)
    assert stored(engine) == [("a", "42", {"level": 1}), ("b", "48", {"by": "me"}), (None, None, {})]
    again = update_prompts(engine, "math", [source])
    assert (again.updated, again.unchanged) == (0, 2)


def test_a_correction_that_fits_no_prompt_is_refused_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    before = [{"id": "a", "prompt": "one"}, {"id": "c", "prompt": "two"}, {"id": "c", "prompt": "three"}]
    import_prompts(engine, "math", [write(tmp_path / "a.jsonl", before)])
    wrong = [
        {"id": "a", "prompt": "another text", "reference_answer": "1"},
        {"id": "c", "reference_answer": "1"},
        {"id": "gone", "reference_answer": "1"},
        {"prompt": "unknown", "reference_answer": "1"},
        {"prompt": "one", "reference_answer": "1"},
        {"id": "a", "reference_answer": "2"},
        {"reference_answer": "2"},
    ]
    source = write(tmp_path / "b.jsonl", wrong)
    report = update_prompts(engine, "math", [source])
    assert (report.updated, report.rejected) == (1, 6)
    assert report.rejects_path is not None
    reasons = {
        entry["line"]: entry["reason"] for entry in map(json.loads, report.rejects_path.read_text().splitlines())
    }
    for line, words in {
        1: "another text", 2: "several prompts", 3: "no such prompt", 4: "no such prompt",
        6: "corrected by an earlier row", 7: "has neither prompt nor messages",
    }.items():  # fmt: skip
        assert words in reasons[line]
    with pytest.raises(InputError, match="nothing was"):
        update_prompts(engine, "math", [source], strict=True)
    with pytest.raises(NotFound, match="no prompt set"):
        update_prompts(engine, "maths", [source])


def test_what_was_scored_by_an_old_reference_answer_is_made_again(engine: Engine, tmp_path: Path) -> None:
    prompts = [{"id": f"p{n}", "prompt": f"{n}+1?", "reference_answer": str(n)} for n in range(4)]
    import_prompts(engine, "set", [write(tmp_path / "a.jsonl", prompts)])
    run_id = scored_run(engine, tmp_path)
    before = rows(
        engine, "SELECT s.method, count(*) FROM score x JOIN scorer s ON s.id = x.scorer_id GROUP BY 1 ORDER BY 1"
    )
    assert before == [("loglik", 8), ("math_verify", 8)]

    fixed = [{"id": "p0", "reference_answer": "1"}, {"id": "p1", "reference_answer": "1"}]  # the second says the same
    report = update_prompts(engine, "set", [write(tmp_path / "b.jsonl", fixed)])
    assert (report.updated, report.unchanged, report.scores_removed) == (1, 1, 2)
    left = rows(
        engine, "SELECT s.method, count(*) FROM score x JOIN scorer s ON s.id = x.scorer_id GROUP BY 1 ORDER BY 1"
    )
    assert left == [("loglik", 8), ("math_verify", 6)]
    assert rows(engine, "SELECT * FROM audit.integrity WHERE violations <> 0") == []
    assert rows(engine, "SELECT finished_at FROM run") == [(None,)]
    assert pipeline.advance(engine, run_id).new_jobs == 2
    ready = rows(engine, "SELECT DISTINCT queue, state FROM job WHERE state = 'ready'")
    assert ready == [("score.quality", "ready")]


def test_no_statement_of_a_correction_grows_with_the_set(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_list: list[int]
) -> None:
    monkeypatch.setattr(source_pass, "AT_ONCE", 3)
    prompts = [{"id": f"p{n}", "prompt": f"{n}+1?", "reference_answer": str(n)} for n in range(4)]
    import_prompts(engine, "set", [write(tmp_path / "a.jsonl", prompts)])
    scored_run(engine, tmp_path)
    longest_list.clear()
    fixed = [{"id": f"p{n}", "reference_answer": str(n + 1)} for n in range(8)]
    report = update_prompts(engine, "set", [write(tmp_path / "b.jsonl", fixed)])
    assert (report.updated, report.rejected, report.scores_removed) == (4, 4, 8)
    assert rows(engine, "SELECT count(*) FROM job j JOIN scorer s ON s.id = j.scorer_id WHERE method <> 'loglik'") == [
        (0,)
    ]
    assert rows(engine, "SELECT * FROM audit.integrity WHERE violations <> 0") == []
    assert max(longest_list) == 3


def scored_run(engine: Engine, tmp_path: Path) -> int:
    """A run of two teachers over the set, whose answers are all there and scored."""
    raw = {
        "name": "run", "prompts": "set", "student": {"name": "s", "model": "m"},
        "teachers": [{"name": name, "family": "f"} for name in ("small", "large")],
        "scorers": {"quality": {"kind": "math_verify"}}, "calibration": {"size": 4},
    }  # fmt: skip
    with engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
    answers = [{"id": f"p{n}", "responses": {"small": str(n), "large": str(n + 1)}} for n in range(4)]
    import_answers(engine, run_id, [write(tmp_path / "answers.jsonl", answers)])
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.SCORE)
    assert pipeline.advance(engine, run_id).new_jobs == 16
    for queue in ("score.quality", "score.learnability"):
        with engine.begin() as conn:
            lease_id = jobs.open_lease(conn, worker="w", host="h", queue=queue, ttl_s=3600)
            items = score.items(conn, jobs.claim(conn, lease_id, queue, 64))
            assert score.store(conn, lease_id, [score.Scored(item, 1.0, {}) for item in items]) == 8
            jobs.close(conn, lease_id, "drained")
    with engine.begin() as conn:
        conn.execute(text("UPDATE run SET finished_at = clock_timestamp()"))
    return run_id
