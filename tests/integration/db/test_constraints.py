"""The rules that the database itself refuses to break, one illegal row each."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import CheckConstraint, Connection, Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from persyn.db import session
from persyn.db.models import Base
from persyn.db.models.results import CHUNK_BYTES

if TYPE_CHECKING:
    from tests.integration.conftest import World

INSERT_JOB = """
INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, state, lease_id, finished_at, error_code,
                 generation_id, scorer_id, attempt, lost_count, first_prompt_id, last_prompt_id)
VALUES (:run, :kind, 'q', 10, :prompt, :teacher, :state, :lease, CAST(:finished AS timestamptz), :code, :generation,
        :scorer, :attempt, :lost, :first, :last)
"""
INSERT_GENERATION = """
INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed, latency_s,
                        job_id, lease_id)
VALUES (:prompt, :teacher, 'a', 'stop', 1, 1, 0, 0.1, :job, :lease) RETURNING id
"""
INSERT_DECISION = """
INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, samples, attempt, gain,
                              probability, lease_id)
VALUES (:run, :prompt, 'persyn', :basis, :teacher, :router, :samples, :attempt, :gain, :probability, :lease)
"""
INSERT_ROUTER = """
INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_place, artifact_path,
                    artifact_sha256, metrics, code_version, job_id, lease_id)
SELECT run_id, 'b', '{}', 0.4, 'minmax', 0, :place, 'p', repeat('0', 64), '{}', '0', id, :lease FROM job RETURNING id
"""
INSERT_CHUNK = "INSERT INTO artifact_chunk VALUES (repeat('0', 64), 'router.json', :part, CAST(:content AS bytea))"
INSERT_STUDENT = """
INSERT INTO student_model (key_sha256, student_id, base_sha256, rows_sha256, hyperparameters, seed, dtype, rows,
                           left_out, tokens, steps, seconds, losses, final_loss, artifact_place, artifact_path,
                           artifact_sha256, code_version, trained_with, job_id, lease_id)
SELECT repeat('0', 64), min(id), repeat('0', 64), repeat('0', 64), '{}', 0, 'float32', 8, '{}', 9, :steps, 1.5,
       '{0.5, 0.25}', :loss, :place, 'p', repeat('0', 64), '0', '{}', 1, 1 FROM student
"""
INSERT_TRAINING = """
INSERT INTO student_training (run_id, policy, seed, settings, settings_sha256, generation_ids, with_reasoning,
                              answers_sha256, job_id)
VALUES (:run, 'persyn', :seed, '{}', repeat('0', 64), '{1}', false, repeat('0', 64), :job)
"""
NOW = "2026-01-01"
INSERT_IMPORTED = """
INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, origin, job_id, lease_id, import_id)
VALUES (:prompt, :teacher, 'answer', 'unknown', :origin, :job, :lease, :import)
"""
IMPORTED_SCORE = """
INSERT INTO score (generation_id, scorer_id, value, import_id, job_id, lease_id)
SELECT g.id, s.id, 0.5, {source} FROM generation g, scorer s WHERE s.kind = 'quality'
"""


class Rows:
    """A generation with all that it hangs on, and the moves that add rows to it."""

    def __init__(self, conn: Connection, world: "World") -> None:
        self.conn, self.world = conn, world
        self.lease = world.lease(conn)
        world.enqueue(conn, world.prompts[:1])
        self.job: int = conn.execute(text("SELECT id FROM job")).scalar_one()
        self.generation = self.add_generation()

    def add_chunk(self, part: int = 0, content: bytes = bytes(CHUNK_BYTES)) -> object:
        return self.conn.execute(text(INSERT_CHUNK), {"part": part, "content": content})

    def add_job(self, **changes: Any) -> object:
        world = self.world
        values = {
            "run": world.run_id, "kind": "generate", "prompt": world.prompts[1], "teacher": world.teachers[0],
            "state": "ready", "lease": None, "finished": None, "code": None, "generation": None, "scorer": None,
            "attempt": 0, "lost": 0, "first": None, "last": None,
        }  # fmt: skip
        return self.conn.execute(text(INSERT_JOB), values | changes)

    def add_score_job(self, **changes: Any) -> object:
        values = {"kind": "score", "prompt": None, "teacher": None, "generation": self.generation}
        return self.add_job(**(values | {"scorer": self.world.quality_id} | changes))

    def add_stage_job(self, kind: str, **changes: Any) -> object:
        return self.add_job(kind=kind, prompt=None, teacher=None, **changes)

    def add_range(self, first: int | None, last: int | None, **changes: Any) -> object:
        return self.add_stage_job("route", first=first, last=last, **changes)

    def add_generation(self, **changes: Any) -> int:
        world = self.world
        values = {"prompt": world.prompts[0], "teacher": world.teachers[0], "job": self.job, "lease": self.lease}
        return int(self.conn.execute(text(INSERT_GENERATION), values | changes).scalar_one())

    def add_score(self, value: float, **changes: Any) -> object:
        values = {
            "g": self.generation, "s": self.world.quality_id, "value": value, "job": self.job, "lease": self.lease,
        }  # fmt: skip
        statement = "INSERT INTO score (generation_id, scorer_id, value, job_id, lease_id) VALUES"
        return self.conn.execute(text(f"{statement} (:g, :s, :value, :job, :lease)"), values | changes)

    def add_decision(self, **changes: Any) -> object:
        world = self.world
        values = {
            "run": world.run_id, "prompt": world.prompts[0], "basis": "static", "teacher": world.teachers[0],
            "router": None, "samples": 1, "attempt": 1, "gain": None, "probability": None, "lease": self.lease,
        }  # fmt: skip
        return self.conn.execute(text(INSERT_DECISION), values | changes)

    def add_router(self, place: str = "host") -> int:
        return int(self.conn.execute(text(INSERT_ROUTER), {"lease": self.lease, "place": place}).scalar_one())

    def add_explored(self, probability: float | None, basis: str = "explored") -> object:
        return self.add_decision(basis=basis, router=self.add_router(), probability=probability)

    def add_scorer(self, kind: str, student: int | None) -> None:
        statement = "INSERT INTO scorer (kind, method, student_id, config_sha256, config) VALUES"
        self.conn.execute(text(f"{statement} (:kind, 'm', :student, :sha, '{{}}')"), {
            "kind": kind, "student": student, "sha": "f" * 64,
        })  # fmt: skip

    def add_import(self) -> int:
        statement = "INSERT INTO generation_import (run_id, path) VALUES (:run, 'answers.jsonl') RETURNING id"
        return int(self.conn.execute(text(statement), {"run": self.world.run_id}).scalar_one())

    def add_imported(self, **changes: Any) -> object:
        values = {
            "prompt": self.world.prompts[0], "teacher": self.world.teachers[1], "origin": "imported", "job": None,
            "lease": None, "import": self.add_import(),
        }  # fmt: skip
        return self.conn.execute(text(INSERT_IMPORTED), values | changes)

    def add_coefficients(self) -> object:
        statement = "INSERT INTO routing_coefficients VALUES (:run, :prompt, 1, '{0.5, -0.5}', NULL, 1)"
        return self.conn.execute(text(statement), {"run": self.world.run_id, "prompt": self.world.prompts[0]})

    def add_student(self, *, steps: int = 2, loss: float = 0.25, place: str = "host") -> object:
        return self.conn.execute(text(INSERT_STUDENT), {"steps": steps, "loss": loss, "place": place})

    def add_training(self, seed: int = 0, *, of_another_job: bool = True) -> object:
        if of_another_job:
            self.add_job(kind="train_student", prompt=None, teacher=None)
        job = self.conn.execute(text("SELECT max(id) FROM job")).scalar_one()
        return self.conn.execute(text(INSERT_TRAINING), {"run": self.world.run_id, "seed": seed, "job": job})

    def sql(self, statement: str) -> None:
        self.conn.execute(text(statement))


LEGAL: dict[str, Callable[[Rows], object]] = {
    "a ready job": lambda rows: rows.add_job(),
    "a leased job": lambda rows: rows.add_job(state="leased", lease=rows.lease),
    "a done job": lambda rows: rows.add_job(state="done", finished=NOW),
    "a dead job": lambda rows: rows.add_job(state="dead", finished=NOW, code="x"),
    "a score job": lambda rows: rows.add_score_job(),
    "two stage jobs of two kinds": lambda rows: [rows.add_stage_job(kind) for kind in ("train_router", "route")],
    "several ranges beside the whole set": lambda rows: [
        rows.add_stage_job("route"),
        rows.add_range(1, 2048),
        rows.add_range(2049, 2049),
    ],
    "a range again once it is done": lambda rows: [
        rows.add_range(1, 9, state="done", finished=NOW),
        rows.add_range(1, 9),
    ],
    "another teacher's generation": lambda rows: rows.add_generation(teacher=rows.world.teachers[1]),
    "an imported generation": lambda rows: rows.add_imported(),
    "an imported score": lambda rows: rows.sql(IMPORTED_SCORE.format(source=f"{rows.add_import()}, NULL, NULL")),
    "a negative score": lambda rows: rows.add_score(-3.5),
    "a decision": lambda rows: rows.add_decision(),
    "an explored decision": lambda rows: rows.add_explored(0.01),
    "a router's decision beside explored ones": lambda rows: rows.add_explored(0.99, basis="router"),
    "a quality scorer": lambda rows: rows.add_scorer("quality", None),
    "a trained student": lambda rows: rows.add_student(),
    "two trainings of two seeds": lambda rows: [rows.add_training(seed) for seed in (0, 1)],
}

ILLEGAL: dict[str, Callable[[Rows], object]] = {
    # constraint → the row that breaks it alone
    "ck_job_kind": lambda rows: rows.add_job(kind="export", prompt=None, teacher=None),
    "ck_job_state": lambda rows: rows.add_job(state="paused"),
    "ck_job_finished_at": lambda rows: rows.add_job(finished=NOW),
    "ck_job_finished_at of done": lambda rows: rows.add_job(state="done"),
    "ck_job_finished_at of dead": lambda rows: rows.add_job(state="dead", code="x"),
    "ck_job_finished_at of cancelled": lambda rows: rows.add_job(state="cancelled"),
    "ck_job_leased_has_lease": lambda rows: rows.add_job(state="leased"),
    "ck_job_leased_has_lease of ready": lambda rows: rows.add_job(lease=rows.lease),
    "ck_job_leased_has_lease of done": lambda rows: rows.add_job(state="done", finished=NOW, lease=rows.lease),
    "ck_job_dead_says_why": lambda rows: rows.add_job(state="dead", finished=NOW),
    "ck_job_counts of attempts": lambda rows: rows.add_job(attempt=-1),
    "ck_job_counts of losses": lambda rows: rows.add_job(lost=-1),
    "ck_job_generate_references without prompt": lambda rows: rows.add_job(prompt=None),
    "ck_job_generate_references without teacher": lambda rows: rows.add_job(teacher=None),
    "ck_job_score_references without generation": lambda rows: rows.add_score_job(generation=None),
    "ck_job_score_references without scorer": lambda rows: rows.add_score_job(scorer=None),
    "uq_job_generate": lambda rows: rows.add_job(prompt=rows.world.prompts[0]),
    "uq_job_score": lambda rows: [rows.add_score_job() for _ in range(2)],
    "uq_job_stage": lambda rows: [rows.add_stage_job("route") for _ in range(2)],
    "uq_job_range": lambda rows: [rows.add_range(1, last) for last in (8, 9)],
    "ck_job_range of one end": lambda rows: rows.add_range(1, None),
    "ck_job_range backwards": lambda rows: rows.add_range(2, 1),
    "ck_job_range of another kind": lambda rows: rows.add_stage_job("train_router", first=1, last=2),
    "pk_routing_coefficients": lambda rows: [rows.add_coefficients() for _ in range(2)],
    "ck_job_event_event": lambda rows: rows.sql("INSERT INTO job_event (job_id, event, attempt) VALUES (1, 'x', 0)"),
    "uq_generation_prompt_id_teacher_id_sample_index": lambda rows: rows.add_generation(),
    "ck_score_value_is_a_number": lambda rows: rows.add_score(float("nan")),
    "pk_score": lambda rows: [rows.add_score(value) for value in (0.0, 1.0)],
    "ck_deployment_single": lambda rows: rows.sql("UPDATE deployment SET single = false"),
    "pk_deployment": lambda rows: rows.sql("INSERT INTO deployment DEFAULT VALUES"),
    "ck_queue_pause_kind": lambda rows: rows.sql(
        "INSERT INTO queue_pause (queue, kind, reason, paused_by) VALUES ('router', 'cat', 'it sat on the keys', 'me')"
    ),
    "ck_lease_revoked_says_why": lambda rows: rows.sql("UPDATE lease SET revoked_at = now()"),
    "ck_lease_revoked_says_why of an open one": lambda rows: rows.sql("UPDATE lease SET reason = 'expired'"),
    "ck_generation_origin of a job": lambda rows: rows.add_imported(job=rows.job),
    "ck_generation_origin of no file": lambda rows: rows.add_imported(**{"import": None}),
    "ck_generation_origin of a third kind": lambda rows: rows.add_imported(origin="found"),
    "ck_generation_generated_is_measured": lambda rows: rows.add_imported(
        origin="generated", job=rows.job, lease=rows.lease, **{"import": None}
    ),
    "ck_score_origin of both": lambda rows: rows.sql(
        IMPORTED_SCORE.format(source=f"{rows.add_import()}, {rows.job}, {rows.lease}")
    ),
    "ck_score_origin of none": lambda rows: rows.sql(IMPORTED_SCORE.format(source="NULL, NULL, NULL")),
    "ck_run_another_runs_router": lambda rows: rows.sql("UPDATE run SET router_run_id = id"),
    "ck_run_scorer_weight": lambda rows: rows.sql("UPDATE run_scorer SET weight = -1"),
    "ck_scorer_kind": lambda rows: rows.add_scorer("style", None),
    "ck_scorer_learnability_names_student": lambda rows: rows.add_scorer("learnability", None),
    "ck_scorer_learnability_names_student of quality": lambda rows: rows.add_scorer("quality", rows.world.student_id),
    "ck_run_policy": lambda rows: rows.sql("UPDATE run SET policy = 'best'"),
    "ck_run_alpha": lambda rows: rows.sql("UPDATE run SET alpha = 1.1"),
    "ck_run_cancelled_says_who": lambda rows: rows.sql("UPDATE run SET cancelled_at = now()"),
    "uq_run_name": lambda rows: rows.world.add_run(rows.conn, "run"),
    "uq_run_teacher_run_id_position": lambda rows: rows.sql("UPDATE run_teacher SET position = 0"),
    "ck_calibration_prompt_split": lambda rows: rows.sql(
        "INSERT INTO calibration_prompt SELECT run.id, prompt.id, 'test' FROM run, prompt"
    ),
    "uq_prompt_prompt_set_id_sha256": lambda rows: rows.sql("UPDATE prompt SET sha256 = repeat('a', 64)"),
    "uq_teacher_name_config_sha256": lambda rows: rows.sql("UPDATE teacher SET name = 'same'"),
    "ck_router_artifact_place": lambda rows: rows.add_router("cellar"),
    "ck_artifact_chunk_size of nothing": lambda rows: rows.add_chunk(content=b""),
    "ck_artifact_chunk_size of too much": lambda rows: rows.add_chunk(content=bytes(CHUNK_BYTES + 1)),
    "ck_artifact_chunk_part": lambda rows: rows.add_chunk(part=-1),
    "pk_artifact_chunk": lambda rows: [rows.add_chunk() for _ in range(2)],
    "ck_routing_decision_basis": lambda rows: rows.add_decision(basis="guess"),
    "ck_routing_decision_router_named": lambda rows: rows.add_decision(basis="router"),
    "ck_routing_decision_router_named of an explored one": lambda rows: rows.add_decision(
        basis="explored", probability=0.5
    ),
    "ck_routing_decision_probability of no draw": lambda rows: rows.add_explored(None),
    "ck_routing_decision_probability of 0": lambda rows: rows.add_explored(0.0),
    "ck_routing_decision_probability above 1": lambda rows: rows.add_explored(1.01, basis="router"),
    "ck_routing_decision_probability where nothing is drawn": lambda rows: rows.add_decision(probability=0.5),
    "ck_routing_decision_samples": lambda rows: rows.add_decision(samples=0),
    "ck_routing_decision_samples of a measured one": lambda rows: rows.add_decision(basis="measured", samples=2),
    "ck_routing_decision_rerouted_says_why": lambda rows: rows.add_decision(attempt=2, basis="rerouted"),
    "ck_routing_decision_rerouted_says_why of a first one": lambda rows: rows.add_decision(gain=0.5),
    "ck_routing_decision_rerouted_says_why of a second one": lambda rows: rows.add_decision(attempt=2),
    "ck_student_model_artifact_place": lambda rows: rows.add_student(place="cellar"),
    "ck_student_model_counts": lambda rows: rows.add_student(steps=3),
    "ck_student_model_final_loss_is_a_number": lambda rows: rows.add_student(loss=float("nan")),
    "uq_student_model_key_sha256": lambda rows: [rows.add_student() for _ in range(2)],
    "uq_student_training_asked_once": lambda rows: [rows.add_training() for _ in range(2)],
    "uq_student_training_job_id": lambda rows: [rows.add_training(seed, of_another_job=seed == 0) for seed in (0, 1)],
    "uq_routing_decision_run_id_policy_prompt_id_attempt": lambda rows: [rows.add_decision() for _ in range(2)],
}


@pytest.fixture(scope="module")
def bare(template: URL) -> Iterator[Engine]:
    """The template itself: every test here rolls back, so none needs a database of its own."""
    engine = session.connect(template.render_as_string(hide_password=False))
    yield engine
    engine.dispose()


@pytest.fixture
def rows(bare: Engine, build: "Callable[[Engine, Connection], World]") -> Iterator[Rows]:
    with bare.connect() as conn:
        yield Rows(conn, build(bare, conn))


@pytest.mark.parametrize("case", LEGAL)
def test_a_legal_row_is_taken(rows: Rows, case: str) -> None:
    LEGAL[case](rows)


@pytest.mark.parametrize("case", ILLEGAL)
def test_an_illegal_row_is_refused_by_its_constraint(rows: Rows, case: str) -> None:
    with pytest.raises(IntegrityError) as refused:
        ILLEGAL[case](rows)
    assert isinstance(refused.value.orig, psycopg.Error)
    assert refused.value.orig.diag.constraint_name == case.split(" ")[0]


@pytest.mark.parametrize(
    ("answer", "finish_reason", "reasoning", "flaw"),
    [
        ("", "tool_calls", None, None),
        ("Wait.", "stop", "hm", None),
        ("", "stop", "hm", None),
        ("", "length", None, "cut"),
        ("", "content_filter", None, "filtered"),
    ],
)
def test_a_call_is_an_answer_without_any_text(
    rows: Rows, answer: str, finish_reason: str, reasoning: str | None, flaw: str | None
) -> None:
    found = rows.conn.execute(
        text("UPDATE generation SET text = :text, finish_reason = :end, reasoning = :reasoning, tool_calls = '[{}]'"
             " RETURNING flaw"),
        {"text": answer, "end": finish_reason, "reasoning": reasoning},
    )  # fmt: skip
    assert found.scalar_one() == flaw


def test_every_check_of_the_models_is_broken_above() -> None:
    checks = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks <= {case.split(" ")[0] for case in ILLEGAL}


@pytest.mark.parametrize(
    ("answer", "finish_reason", "reasoning", "flaw"),
    [
        ("The answer is 4.", "stop", None, None),
        ("4", "unknown", "2 + 2 is 4", None),  # an imported answer whose end nobody noted
        ("", "stop", None, "empty"),
        (" \n\t", "stop", "  ", "empty"),
        ("", "stop", "Let me think.", "unfinished_thought"),
        ("", "length", "Let me think.", "unfinished_thought"),
        ("The answer", "length", None, "cut"),
        ('{"answer": 4, "reason": "2 +', "length", None, "cut"),  # JSON that a schema asked for
        ("The answer", "MAX_TOKENS", None, "cut"),
        ("The answer", "content_filter", None, "filtered"),
        ("", "SAFETY", None, "filtered"),
        ("I cannot help.", "refusal", None, "refused"),
        ("", "tool_calls", None, "tool_call"),
        ("The ans", "error", None, "failed"),
    ],
)
def test_an_answer_says_what_is_wrong_with_it(
    rows: Rows, answer: str, finish_reason: str, reasoning: str | None, flaw: str | None
) -> None:
    found = rows.conn.execute(
        text("UPDATE generation SET text = :text, finish_reason = :end, reasoning = :reasoning RETURNING flaw"),
        {"text": answer, "end": finish_reason, "reasoning": reasoning},
    )
    assert found.scalar_one() == flaw
