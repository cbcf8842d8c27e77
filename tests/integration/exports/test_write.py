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

from persyn import runs
from persyn.config import RunConfig
from persyn.errors import NotFound, PersynError
from persyn.exports.write import export_run
from persyn.imports.prompts import import_prompts


class Tables:
    """A run of two teachers, and rows put into it as workers would."""

    def __init__(self, engine: Engine, folder: Path, prompts: int, **config: Any) -> None:
        self.engine = engine
        source = folder / "prompts.jsonl"
        lines = [{"id": n, "prompt": f"{n}+1?", "reference_answer": str(n + 1)} for n in range(prompts)]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        import_prompts(engine, "math", [str(source)])
        teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("small", "large")]
        student = {"name": "student", "model": "m"}
        self.config = RunConfig.model_validate(
            {"name": "first", "prompts": "math", "student": student, "teachers": teachers} | config
        )
        with engine.begin() as connection:
            self.run_id = runs.create(connection, self.config)
            lease = (
                "INSERT INTO lease (worker, host, queue, expires_at, deadline_at) VALUES ('w', 'h', 'q', now(), now())"
            )
            self.lease_id = connection.execute(text(f"{lease} RETURNING id")).scalar_one()
            query = text("SELECT id FROM prompt ORDER BY position")
            self.prompt_ids = list(connection.execute(query).scalars())
            teacher_query = text("SELECT t.name, t.id FROM teacher t")
            self.teacher_ids = {row.name: row.id for row in connection.execute(teacher_query)}

    def _references(self, prompt: int, teacher: str) -> dict[str, int]:
        return {
            "run": self.run_id,
            "prompt": self.prompt_ids[prompt],
            "teacher": self.teacher_ids[teacher],
            "lease": self.lease_id,
        }

    def decide(self, prompt: int, teacher: str, policy: str = "persyn") -> None:
        self._execute(
            "INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)"
            " VALUES (:run, :prompt, :policy, 'static', :teacher, :lease)",
            self._references(prompt, teacher) | {"policy": policy},
        )

    def ask(self, prompt: int, teacher: str, state: str, error_code: str | None = None) -> None:
        self._execute(
            "INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, state, error_code, finished_at,"
            " lease_id) VALUES (:run, 'generate', 'q', 50, :prompt, :teacher, :state, :error_code,"
            " CASE WHEN :state IN ('done', 'dead', 'cancelled') THEN now() END,"
            " CASE WHEN :state = 'leased' THEN CAST(:lease AS bigint) END)",
            self._references(prompt, teacher) | {"state": state, "error_code": error_code},
        )

    def answer(self, prompt: int, teacher: str, answer: str) -> None:
        self.ask(prompt, teacher, "done")
        self._execute(
            "INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens,"
            " seed, latency_s, job_id, lease_id) SELECT prompt_id, teacher_id, :answer, 'stop', 1, 1, 0, 0.1, id,"
            " :lease FROM job WHERE run_id = :run AND prompt_id = :prompt AND teacher_id = :teacher",
            self._references(prompt, teacher) | {"answer": answer},
        )

    def train(self) -> None:
        self._execute(
            "INSERT INTO job (run_id, kind, queue, stage, state, finished_at)"
            " VALUES (:run, 'train_router', 'q', 30, 'done', now())",
            {"run": self.run_id},
        )
        self._execute(
            "INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path,"
            " artifact_sha256, metrics, code_version, job_id, lease_id)"
            " SELECT :run, 'b', '{}', 0.4, 'minmax', 0, 'p', repeat('a', 64), '{}', '0', id, :lease FROM job"
            " WHERE kind = 'train_router'",
            {"run": self.run_id, "lease": self.lease_id},
        )

    def _execute(self, statement: str, values: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def tables(engine: Engine, tmp_path: Path) -> Tables:
    """Four prompts: two answered by the teacher chosen for them, in the wrong order; two not answered yet."""
    tables = Tables(engine, tmp_path, 4)
    tables.decide(1, "small")
    tables.answer(1, "small", "it is 2")
    tables.decide(0, "large")
    tables.answer(0, "large", "it is 1")
    tables.answer(0, "small", "not chosen")
    tables.decide(2, "small")
    tables.ask(2, "small", "ready")
    return tables


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exported(connection: Connection) -> list[Any]:
    query = text("SELECT format, layout, path, sha256, rows FROM export ORDER BY id")
    return [tuple(row) for row in connection.execute(query)]


def test_each_prompt_gets_its_chosen_teachers_answer_in_the_prompts_order(tables: Tables, tmp_path: Path) -> None:
    export_run(tables.engine, tables.run_id, tmp_path / "out", ["jsonl", "parquet"])
    rows = lines(tmp_path / "out" / "train.jsonl")
    assert [(row["external_id"], row["teacher"], row["messages"][-1]) for row in rows] == [
        ("0", "large", {"role": "assistant", "content": "it is 1"}),
        ("1", "small", {"role": "assistant", "content": "it is 2"}),
    ]
    assert [row["prompt_id"] for row in rows] == tables.prompt_ids[:2]
    assert pq.read_table(tmp_path / "out" / "train.parquet").to_pylist() == rows


def test_the_manifest_says_what_is_there_and_what_is_missing(tables: Tables, tmp_path: Path) -> None:
    tables.train()
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", ["parquet"], "prompt_completion")
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written == manifest.model_dump(mode="json")
    data = (tmp_path / "out" / "train.parquet").read_bytes()
    assert written["files"] == [
        {
            "format": "parquet",
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


def test_every_prompt_without_an_answer_is_counted_under_its_reason(engine: Engine, tmp_path: Path) -> None:
    tables = Tables(engine, tmp_path, 7, calibration_answers="exclude", policy="strong", calibration={"size": 2})
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
    with engine.begin() as connection:
        values = {"run": tables.run_id, "prompt": tables.prompt_ids[6]}
        connection.execute(text("INSERT INTO calibration_prompt VALUES (:run, :prompt, 'train')"), values)
    manifest = export_run(engine, tables.run_id, tmp_path / "out")
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


def test_a_second_export_gives_the_same_bytes(tables: Tables, tmp_path: Path) -> None:
    first = export_run(tables.engine, tables.run_id, tmp_path / "a", ["jsonl", "parquet"])
    second = export_run(tables.engine, tables.run_id, tmp_path / "b", ["jsonl", "parquet"])
    assert first == second
    for name in ("train.jsonl", "train.parquet", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_each_file_is_noted_in_the_export_table(tables: Tables, tmp_path: Path) -> None:
    manifest = export_run(tables.engine, tables.run_id, tmp_path / "out", ["jsonl", "parquet", "jsonl"])
    with tables.engine.connect() as connection:
        noted = exported(connection)
    assert noted == [
        (file.format, "messages", str(tmp_path / "out" / file.name), file.sha256, 2) for file in manifest.files
    ]
    assert [file.format for file in manifest.files] == ["jsonl", "parquet"]


def test_more_rows_than_one_fetch_come_whole(engine: Engine, tmp_path: Path) -> None:
    tables = Tables(engine, tmp_path, 2500)
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
    tables: Tables, tmp_path: Path, format: Any
) -> None:
    out = tmp_path / "out"
    export_run(tables.engine, tables.run_id, out, [format])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    tables.decide(3, "large")
    tables.answer(3, "large", "late")
    with full_disk(limit=100), pytest.raises(PersynError, match=r"cannot be written: File too large.*half written"):
        export_run(tables.engine, tables.run_id, out, [format])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with tables.engine.connect() as connection:
        assert len(exported(connection)) == 1


def test_a_folder_that_cannot_be_made_is_one_clear_error(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PersynError, match=r"file.*cannot be written"):
        export_run(tables.engine, tables.run_id, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
