"""A run in the tables, as workers would leave it, for the exports that are made of it."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import runs
from persyn.config import RunConfig
from persyn.imports.prompts import import_prompts


class Tables:
    """A run of two teachers, and rows put into it as workers would."""

    def __init__(
        self, engine: Engine, folder: Path, prompts: int = 0, records: Sequence[dict[str, Any]] = (), **config: Any
    ) -> None:
        self.engine, self.records = engine, records
        source = folder / "prompts.jsonl"
        records = self.records or [
            {"id": n, "prompt": f"{n}+1?", "reference_answer": str(n + 1)} for n in range(prompts)
        ]
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
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

    def reroute(self, prompt: int, teacher: str) -> None:
        """Ask this teacher too, after the one that was decided on."""
        self._execute(
            """
            INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, attempt, failed_teacher_ids,
                                          gain, price, lease_id)
            SELECT run_id, prompt_id, policy, 'rerouted', :teacher, 2, ARRAY[teacher_id], 0.5, 1, lease_id
            FROM routing_decision WHERE prompt_id = :prompt
            """,
            {"teacher": self.teacher_ids[teacher], "prompt": self.prompt_ids[prompt]},
        )

    def ask(self, prompt: int, teacher: str, state: str, error_code: str | None = None) -> None:
        self._execute(
            "INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, state, error_code, finished_at,"
            " lease_id) VALUES (:run, 'generate', 'q', 50, :prompt, :teacher, :state, :error_code,"
            " CASE WHEN :state IN ('done', 'dead', 'cancelled') THEN now() END,"
            " CASE WHEN :state = 'leased' THEN CAST(:lease AS bigint) END)",
            self._references(prompt, teacher) | {"state": state, "error_code": error_code},
        )

    def answer(
        self, prompt: int, teacher: str, answer: str, *, finish_reason: str = "stop", reasoning: str | None = None,
        quality: float | None = None, learnability: float | None = None, loss: float | None = None,
    ) -> None:  # fmt: skip
        self.ask(prompt, teacher, "done")
        self._execute(
            "INSERT INTO generation (prompt_id, teacher_id, text, reasoning, finish_reason, prompt_tokens,"
            " completion_tokens, seed, latency_s, job_id, lease_id) SELECT prompt_id, teacher_id, :answer, :reasoning,"
            " :finish_reason, 1, 1, 0, 0.1, id, :lease FROM job"
            " WHERE run_id = :run AND prompt_id = :prompt AND teacher_id = :teacher",
            self._references(prompt, teacher)
            | {"answer": answer, "finish_reason": finish_reason, "reasoning": reasoning},
        )
        for kind, value in (("quality", quality), ("learnability", learnability)):
            if value is not None:
                self._score(prompt, teacher, kind, value, loss)

    def _score(self, prompt: int, teacher: str, kind: str, value: float, loss: float | None) -> None:
        detail = {} if loss is None else {"loss": loss}
        references = self._references(prompt, teacher) | {"kind": kind, "value": value, "detail": json.dumps(detail)}
        self._execute(
            "INSERT INTO job (run_id, kind, queue, stage, generation_id, scorer_id, state, finished_at)"
            " SELECT :run, 'score', 'q', 20, g.id, s.id, 'done', now() FROM generation g, scorer s"
            " WHERE g.prompt_id = :prompt AND g.teacher_id = :teacher AND s.kind = :kind",
            references,
        )
        self._execute(
            "INSERT INTO score (generation_id, scorer_id, value, detail, job_id, lease_id)"
            " SELECT j.generation_id, j.scorer_id, :value, CAST(:detail AS jsonb), j.id, :lease FROM job j"
            " JOIN generation g ON g.id = j.generation_id JOIN scorer s ON s.id = j.scorer_id"
            " WHERE g.prompt_id = :prompt AND g.teacher_id = :teacher AND s.kind = :kind",
            references,
        )

    def calibrate(self, *prompts: int) -> None:
        for prompt in prompts:
            values = {"run": self.run_id, "prompt": self.prompt_ids[prompt]}
            self._execute("INSERT INTO calibration_prompt VALUES (:run, :prompt, 'train')", values)

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
def make_tables(engine: Engine, tmp_path: Path) -> Callable[..., Tables]:
    """`make_tables(prompts, **config)`."""
    return partial(Tables, engine, tmp_path)


@pytest.fixture
def tables(make_tables: Callable[..., Tables]) -> Tables:
    """Four prompts: two answered by the teacher chosen for them, in the wrong order; two not answered yet."""
    tables = make_tables(4)
    tables.decide(1, "small")
    tables.answer(1, "small", "it is 2")
    tables.decide(0, "large")
    tables.answer(0, "large", "it is 1")
    tables.answer(0, "small", "not chosen")
    tables.decide(2, "small")
    tables.ask(2, "small", "ready")
    return tables
