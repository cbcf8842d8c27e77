"""Exporting from a real Postgres: the chosen answers in order, the same bytes again, and no half files."""

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Connection, Engine, text

from persyn.config import Export
from persyn.errors import ConfigError, NotFound, PersynError
from persyn.exports.write import export_run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exported(connection: Connection) -> list[Any]:
    query = text("SELECT format, layout, path, sha256, rows FROM export ORDER BY id")
    return [tuple(row) for row in connection.execute(query)]


def test_each_prompt_gets_its_chosen_teachers_answer_in_the_prompts_order(tables: Any, tmp_path: Path) -> None:
    export_run(tables.engine, tables.run_id, tmp_path / "out", Export(formats=["jsonl", "parquet"]))
    rows = lines(tmp_path / "out" / "train.jsonl")
    assert [(row["external_id"], row["teacher"], row["completion"][0]) for row in rows] == [
        ("0", "large", {"role": "assistant", "content": "it is 1"}),
        ("1", "small", {"role": "assistant", "content": "it is 2"}),
    ]
    assert [row["prompt_id"] for row in rows] == tables.prompt_ids[:2]
    assert pq.read_table(tmp_path / "out" / "train.parquet").to_pylist() == rows


def test_the_manifest_says_what_is_there_and_what_is_missing(tables: Any, tmp_path: Path) -> None:
    tables.train()
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", Export(formats=["parquet"]))
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written == manifest.model_dump(mode="json")
    data = (tmp_path / "out" / "train.parquet").read_bytes()
    assert written["files"] == [
        {
            "format": "parquet",
            "split": "train",
            "name": "train.parquet",
            "rows": 2,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    ]
    assert (written["rows"], written["rows_by_teacher"]) == (2, {"small": 1, "large": 1})
    assert written["missing"] == {"not_routed": 1, "waiting": 1}
    assert written["config_sha256"] == tables.config.sha256()
    assert written["router"]["sha256"] == "a" * 64


def test_every_prompt_without_an_answer_is_counted_under_its_reason(make_tables: Any, tmp_path: Path) -> None:
    tables = make_tables(7, calibration_answers="exclude", policy="strong", calibration={"size": 2})
    states: list[tuple[str, str | None]] = [
        ("dead", "timeout"),
        ("dead", "timeout"),
        ("cancelled", None),
        ("leased", None),
    ]
    for prompt, (state, code) in enumerate(states):
        tables.decide(prompt, "large", policy="strong")
        tables.ask(prompt, "large", state, code)
    tables.decide(4, "large", policy="strong")
    tables.decide(5, "large", policy="random")  # of another policy: no decision of this run's
    tables.calibrate(6)
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out")
    assert manifest.missing == {
        "timeout": 2,
        "cancelled": 1,
        "waiting": 1,
        "not_asked": 1,
        "not_routed": 1,
        "calibration_excluded": 1,
    }
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == b""
    assert manifest.router is None


def test_a_second_export_gives_the_same_bytes(tables: Any, tmp_path: Path) -> None:
    first = export_run(tables.engine, tables.run_id, tmp_path / "a", Export(formats=["jsonl", "parquet"]))
    second = export_run(tables.engine, tables.run_id, tmp_path / "b", Export(formats=["jsonl", "parquet"]))
    assert first == second
    for name in ("train.jsonl", "train.parquet", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_each_file_is_noted_in_the_export_table(tables: Any, tmp_path: Path) -> None:
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", Export(formats=["jsonl", "parquet", "jsonl"]))
    with tables.engine.connect() as connection:
        noted = exported(connection)
    assert noted == [
        (file.format, "prompt_completion", str(tmp_path / "out" / file.name), file.sha256, 2) for file in manifest.files
    ]
    assert [file.format for file in manifest.files] == ["jsonl", "parquet"]


def test_more_rows_than_one_fetch_come_whole(engine: Engine, make_tables: Any, tmp_path: Path) -> None:
    tables = make_tables(2500)
    statements = [
        "INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, state, finished_at)"
        " SELECT :run, 'generate', 'q', 50, id, :teacher, 'done', now() FROM prompt",
        "INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)"
        " SELECT :run, id, 'persyn', 'static', :teacher, :lease FROM prompt ORDER BY md5(sha256)",
        "INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed,"
        " latency_s, job_id, lease_id) SELECT prompt_id, teacher_id, 'a', 'stop', 1, 1, 0, 0.1, id, :lease FROM job",
    ]
    values = {"run": tables.run_id, "teacher": tables.teacher_ids["small"], "lease": tables.lease_id}
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)
    export_run(engine, tables.run_id, tmp_path / "out")
    rows = lines(tmp_path / "out" / "train.jsonl")
    assert [row["external_id"] for row in rows] == [str(n) for n in range(2500)]


def test_an_unknown_run_is_an_error_and_leaves_no_file(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="run 99"):
        export_run(engine, 99, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit` bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_full_disk_is_one_clear_error_and_leaves_the_previous_export(
    tables: Any, tmp_path: Path, format: Any
) -> None:
    out = tmp_path / "out"
    export_run(tables.engine, tables.run_id, out, Export(formats=[format]))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    tables.decide(3, "large")
    tables.answer(3, "large", "late")
    with full_disk(limit=100), pytest.raises(PersynError, match=r"cannot be written: File too large.*half written"):
        export_run(tables.engine, tables.run_id, out, Export(formats=[format]))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with tables.engine.connect() as connection:
        assert len(exported(connection)) == 1


def test_a_folder_that_cannot_be_made_is_one_clear_error(tables: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PersynError, match=r"file.*cannot be written"):
        export_run(tables.engine, tables.run_id, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def answered(make_tables: Any, *answers: dict[str, Any], **config: Any) -> Any:
    """A prompt for each answer, which `small` gave."""
    tables = make_tables(max(4, len(answers)), **config)
    for prompt, answer in enumerate(answers):
        tables.decide(prompt, "small")
        tables.answer(prompt, "small", **{"answer": f"it is {prompt + 1}"} | answer)
    return tables


FLAWED: list[dict[str, Any]] = [
    {"quality": 1.0},
    {"quality": 0.0},
    {},
    {"finish_reason": "length", "quality": 0.0},
    {"answer": " \n"},
    {"finish_reason": "content_filter"},
]


def test_what_is_wrong_cut_or_empty_stays_behind_and_is_counted(make_tables: Any, tmp_path: Path) -> None:
    tables = answered(make_tables, *FLAWED)
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out")
    assert [row["external_id"] for row in lines(tmp_path / "out" / "train.jsonl")] == ["0", "2"]
    assert manifest.left_out == {"cut": 1, "empty": 1, "filtered": 1, "wrong": 1}
    assert (manifest.rows, manifest.prompts, manifest.unchecked, manifest.missing) == (2, 6, 1, {})
    assert manifest.outcome() == ("2 of 6 rows (left out: 1 cut, 1 empty, 1 filtered, 1 wrong; unchecked: 1)")


def test_what_the_token_limit_ended_before_an_answer_is_left_out_as_cut(make_tables: Any, tmp_path: Path) -> None:
    """Thoughts that used up all tokens; keeping cut answers alone does not let an empty one through."""
    nothing = {"answer": " ", "finish_reason": "length"}
    tables = answered(make_tables, nothing, {"quality": 1.0})
    assert export_run(tables.engine, tables.run_id, tmp_path / "out").left_out == {"cut": 1}
    kept = export_run(tables.engine, tables.run_id, tmp_path / "kept", Export(keep="cut"))  # type: ignore[arg-type]
    assert kept.left_out == {"empty": 1}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("wrong", ["0", "1", "2"]), ("cut,wrong", ["0", "1", "2", "3"]), ("all", ["0", "1", "2", "3", "4", "5"])],
)
def test_flawed_answers_are_kept_on_request_with_a_column_that_tells(
    make_tables: Any, tmp_path: Path, keep: Any, kept: list[str]
) -> None:
    tables = answered(make_tables, *FLAWED)
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", Export(keep=keep))
    rows = lines(tmp_path / "out" / "train.jsonl")
    flaws = {row["external_id"]: row["flaws"] for row in rows}
    assert list(flaws) == kept
    assert flaws["1"] == "wrong"
    assert flaws.get("3", "cut,wrong") == "cut,wrong"
    assert manifest.flawed["wrong"] == sum("wrong" in flaw for flaw in flaws.values())


def test_a_graded_quality_of_zero_is_not_wrong(make_tables: Any, tmp_path: Path) -> None:
    """A reward model's or an imported number is a grade; only math_verify says right or wrong."""
    tables = answered(make_tables, {"quality": 0.0}, scorers={"quality": {"kind": "imported"}})
    assert export_run(tables.engine, tables.run_id, tmp_path / "out").rows == 1


def test_every_column_comes_on_request(make_tables: Any, tmp_path: Path) -> None:
    record = {"id": "a", "prompt": "1+1?", "reference_answer": "2", "source": "book"}
    others = [{"id": n, "prompt": f"{n}+1?", "reference_answer": str(n + 1)} for n in range(2, 5)]
    tables = make_tables(records=[record, *others])
    tables.calibrate(0)
    tables.decide(0, "small")
    tables.answer(0, "small", "it is 2", quality=1.0, learnability=-0.5)
    tables.answer(0, "large", "it is 3", quality=0.0, learnability=-0.25)
    tables.decide(1, "small")
    tables.answer(1, "small", "it is 3")
    export_run(tables.engine, tables.run_id, tmp_path / "out", Export(columns="all"))  # type: ignore[arg-type]
    measured, plain = lines(tmp_path / "out" / "train.jsonl")
    assert (measured["quality"], measured["learnability"], measured["reward"]) == (1.0, -0.5, 0.6)
    assert (measured["reference_answer"], json.loads(measured["metadata"])) == ("2", {"source": "book"})
    assert (measured["teacher_model"], measured["teacher_revision"], measured["finish_reason"]) == ("m", "", "stop")
    assert (plain["quality"], plain["reward"], plain["flaws"], plain["metadata"]) == (None, None, "", "")


def test_reasoning_is_in_every_row_of_a_set_or_in_none(make_tables: Any, tmp_path: Path) -> None:
    tables = answered(make_tables, {"reasoning": "one and one"}, {})
    export_run(tables.engine, tables.run_id, tmp_path / "out")
    said = [row["completion"][0]["reasoning_content"] for row in lines(tmp_path / "out" / "train.jsonl")]
    assert said == ["one and one", ""]
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "none", Export(reasoning="think"))
    assert manifest.reasoning == "think"
    first, second = (row["completion"][0]["content"] for row in lines(tmp_path / "none" / "train.jsonl"))
    assert (first, second) == ("<think>\none and one\n</think>\n\nit is 1", "it is 2")


def test_a_set_without_reasoning_has_no_field_for_it(tables: Any, tmp_path: Path) -> None:
    assert export_run(tables.engine, tables.run_id, tmp_path / "out").reasoning == "drop"
    assert list(lines(tmp_path / "out" / "train.jsonl")[0]["completion"][0]) == ["role", "content"]


def test_pairs_come_from_the_calibration_answers_without_any_routing(make_tables: Any, tmp_path: Path) -> None:
    tables = make_tables(4)
    tables.calibrate(0, 1)
    tables.answer(0, "small", "it is 1", quality=1.0, learnability=-0.5)
    tables.answer(0, "large", "it is 5", quality=0.0, learnability=-0.6)
    tables.answer(1, "small", "it is 2", quality=1.0, learnability=-0.5)
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", Export(layout="preference"))
    (row,) = lines(tmp_path / "out" / "train.jsonl")
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("it is 1", "it is 5")
    assert (manifest.rows, manifest.prompts, manifest.left_out, manifest.missing) == (1, 2, {"no_pair": 1}, {})


def test_rows_that_hold_an_item_of_a_benchmark_stay_behind_with_a_report(make_tables: Any, tmp_path: Path) -> None:
    tables = answered(make_tables, {}, {})
    benchmark = tmp_path / "test.jsonl"
    benchmark.write_text('{"question": "1 + 1"}\n')
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", benchmarks=[benchmark])
    assert (manifest.rows, manifest.left_out, [*manifest.benchmarks]) == (1, {"contaminated": 1}, ["test.jsonl"])
    (report,) = lines(tmp_path / "out" / "contamination.jsonl")
    assert (report["external_id"], report["benchmark"], report["item"], report["words"]) == (
        "1", "test.jsonl", 1, "^1 1$",
    )  # fmt: skip


def test_validation_rows_have_files_of_their_own(make_tables: Any, tmp_path: Path) -> None:
    tables = answered(make_tables, *[{}] * 12)
    export = Export(formats=["jsonl", "parquet"], validation=0.5)
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", export)
    parts = {split: lines(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "validation")}
    assert {split: len(rows) for split, rows in parts.items()} == manifest.rows_by_split
    assert 0 < len(parts["validation"]) < 12
    assert pq.read_table(tmp_path / "out" / "validation.parquet").to_pylist() == parts["validation"]
    assert [(file.name, file.rows) for file in manifest.files] == [
        (f"{split}.{format}", len(rows)) for split, rows in parts.items() for format in ("jsonl", "parquet")
    ]


def test_an_export_takes_the_place_of_the_one_before(tables: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(tables.engine, tables.run_id, out, Export(formats=["jsonl"], layout="axolotl", validation=0.5))
    (out / "notes.txt").write_text("mine")
    manifest = export_run(tables.engine, tables.run_id, out, Export(formats=["parquet"], layout="llamafactory"))
    kept = {"train.parquet", "README.md", "croissant.json", "eu_summary.md", "dataset_info.json", "manifest.json"}
    assert {path.name for path in out.iterdir()} == kept | {"notes.txt"}
    assert {*manifest.documents} <= kept


def test_a_file_of_somebody_elses_is_never_replaced_by_a_document(tables: Any, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"dataset_info\.json: this file is not an export's\. Choose another folder"):
        export_run(tables.engine, tables.run_id, tmp_path, Export(layout="llamafactory"))
    assert (tmp_path / "dataset_info.json").read_text() == "mine"
    assert not (tmp_path / "train.jsonl").exists()
