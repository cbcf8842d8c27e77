"""The tables. Constraints and partial indexes carry the rules, so that no code path can break them.

Text lives in `prompt` and `generation` only; `job` stays narrow because it is hot.
"""

from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from persyn.config import Policy
from persyn.db.types import CreatedAt, Json, Moment, PrimaryKey, Sha256, references
from persyn.states import JobEvent, JobState


def _one_of(column: str, values: type[JobState] | type[JobEvent] | tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


JOB_KINDS = ("generate", "score", "train_router", "route")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class PromptSet(Base):
    __tablename__ = "prompt_set"
    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[CreatedAt]


class Prompt(Base):
    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("prompt_set_id", "sha256"),
        Index("ix_prompt_prompt_set_id_external_id", "prompt_set_id", "external_id"),
    )
    id: Mapped[PrimaryKey]
    prompt_set_id: Mapped[int] = references("prompt_set.id")
    position: Mapped[int] = mapped_column(BigInteger)  # the order of import, from 0
    external_id: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[Sha256]  # of the canonical messages
    messages: Mapped[list[Any]] = mapped_column(JSONB)
    reference_answer: Mapped[str | None] = mapped_column(Text)
    meta: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[CreatedAt]


class Teacher(Base):
    """One immutable version of a teacher; a change in its configuration makes a new row."""

    __tablename__ = "teacher"
    __table_args__ = (UniqueConstraint("name", "config_sha256"),)
    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(Text)
    config_sha256: Mapped[Sha256]
    family: Mapped[str] = mapped_column(Text)
    params_b: Mapped[float | None] = mapped_column(Float)  # none: not published
    model: Mapped[str | None] = mapped_column(Text)  # none: its answers are all imported
    revision: Mapped[str | None] = mapped_column(Text)
    system_prompt: Mapped[str | None] = mapped_column(Text)
    endpoint: Mapped[str | None] = mapped_column(Text)
    config: Mapped[Json]
    created_at: Mapped[CreatedAt]


class Student(Base):
    __tablename__ = "student"
    __table_args__ = (UniqueConstraint("name", "config_sha256"),)
    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(Text)
    config_sha256: Mapped[Sha256]
    model: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    config: Mapped[Json]
    created_at: Mapped[CreatedAt]


class Scorer(Base):
    __tablename__ = "scorer"
    __table_args__ = (
        CheckConstraint(_one_of("kind", ("quality", "learnability")), name="kind"),
        CheckConstraint("(kind = 'learnability') = (student_id IS NOT NULL)", name="learnability_names_student"),
        UniqueConstraint("kind", "config_sha256"),
    )
    id: Mapped[PrimaryKey]
    kind: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    student_id: Mapped[int | None] = references("student.id")
    config_sha256: Mapped[Sha256]
    config: Mapped[Json]
    created_at: Mapped[CreatedAt]


class Run(Base):
    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(_one_of("policy", get_args(Policy)), name="policy"),
        CheckConstraint("alpha BETWEEN 0 AND 1", name="alpha"),
    )
    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(Text, unique=True)
    prompt_set_id: Mapped[int] = references("prompt_set.id")
    student_id: Mapped[int] = references("student.id")
    policy: Mapped[str] = mapped_column(Text)
    alpha: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    config: Mapped[Json]  # as given, defaults filled in
    config_sha256: Mapped[Sha256]
    code_version: Mapped[str] = mapped_column(Text)
    library_versions: Mapped[Json]
    target_stage: Mapped[int] = mapped_column(Integer)  # how far the pipeline may take it by itself
    finished_at: Mapped[Moment | None]  # set once nothing is left to do; new work clears it
    created_at: Mapped[CreatedAt]
    paused_at: Mapped[Moment | None]  # its jobs are not claimed while this is set
    pause_reason: Mapped[str | None] = mapped_column(Text)
    paused_by: Mapped[str | None] = mapped_column(Text)
    # Counted once its routing is done, so that showing its progress need not count millions of rows again.
    prompt_count: Mapped[int | None] = mapped_column(BigInteger)
    decided_count: Mapped[int | None] = mapped_column(BigInteger)


class RunTeacher(Base):
    """The pool in coefficient order: `position` is the teacher's place in the router's output."""

    __tablename__ = "run_teacher"
    __table_args__ = (UniqueConstraint("run_id", "position"),)
    run_id: Mapped[int] = references("run.id", primary_key=True)
    teacher_id: Mapped[int] = references("teacher.id", primary_key=True)
    position: Mapped[int] = mapped_column(Integer)


class RunScorer(Base):
    """The scorers that a run reads; of several of one kind, each counts by its weight (0: measured, not combined)."""

    __tablename__ = "run_scorer"
    __table_args__ = (CheckConstraint("weight >= 0", name="weight"),)
    run_id: Mapped[int] = references("run.id", primary_key=True)
    scorer_id: Mapped[int] = references("scorer.id", primary_key=True)
    weight: Mapped[float] = mapped_column(DOUBLE_PRECISION)


class CalibrationPrompt(Base):
    __tablename__ = "calibration_prompt"
    __table_args__ = (CheckConstraint(_one_of("split", ("train", "validation")), name="split"),)
    run_id: Mapped[int] = references("run.id", primary_key=True)
    prompt_id: Mapped[int] = references("prompt.id", primary_key=True)
    split: Mapped[str] = mapped_column(Text)


class Lease(Base):
    """A worker's right to a batch of jobs; never deleted, never reused."""

    __tablename__ = "lease"
    __table_args__ = (
        CheckConstraint("(revoked_at IS NULL) = (reason IS NULL)", name="revoked_says_why"),
        Index("ix_lease_open", "expires_at", postgresql_where=text("revoked_at IS NULL")),
    )
    id: Mapped[PrimaryKey]
    worker: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    renewed_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    deadline_at: Mapped[Moment]
    revoked_at: Mapped[Moment | None]
    reason: Mapped[str | None] = mapped_column(Text)  # released, expired, deadline


class Job(Base):
    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(_one_of("kind", JOB_KINDS), name="kind"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint("(state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)", name="finished_at"),
        CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name="leased_has_lease"),
        CheckConstraint("state <> 'dead' OR error_code IS NOT NULL", name="dead_says_why"),
        CheckConstraint("attempt >= 0 AND lost_count >= 0", name="counts"),
        CheckConstraint(
            "(kind = 'generate') = (prompt_id IS NOT NULL AND teacher_id IS NOT NULL)", name="generate_references"
        ),
        CheckConstraint(
            "(kind = 'score') = (generation_id IS NOT NULL AND scorer_id IS NOT NULL)", name="score_references"
        ),
        Index(
            "uq_job_generate",
            "run_id",
            "teacher_id",  # in the order of enqueuing, so that the index grows at its end
            "prompt_id",
            "sample_index",
            unique=True,
            postgresql_where=text("kind = 'generate'"),
        ),
        Index(
            "uq_job_score",
            "run_id",
            "scorer_id",
            "generation_id",
            unique=True,
            postgresql_where=text("kind = 'score'"),
        ),
        Index(
            "uq_job_stage",
            "run_id",
            "kind",
            unique=True,
            postgresql_where=text("kind IN ('train_router', 'route')"),
        ),
        Index(
            "ix_job_ready",
            "queue",
            "run_id",
            "stage",
            "not_before",
            "id",
            postgresql_where=text("state = 'ready' AND lost_count < 2"),
        ),
        Index("ix_job_suspect", "queue", postgresql_where=text("state = 'ready' AND lost_count >= 2")),
        Index("ix_job_dead", "run_id", "id", postgresql_where=text("state = 'dead'")),
        Index("ix_job_lease_id", "lease_id", postgresql_where=text("lease_id IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"}},
    )
    id: Mapped[PrimaryKey]
    # No foreign keys: half of an enqueue's time went into looking up what its own SELECT had just read. Nothing that a
    # job names is ever deleted; `audit.integrity` looks.
    run_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    prompt_id: Mapped[int | None] = mapped_column(BigInteger)
    teacher_id: Mapped[int | None] = mapped_column(BigInteger)
    sample_index: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    generation_id: Mapped[int | None] = mapped_column(BigInteger)
    scorer_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, server_default=text("'ready'"))
    stage: Mapped[int] = mapped_column(Integer)  # a Stage; the lower goes first
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lost_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    not_before: Mapped[CreatedAt]
    lease_id: Mapped[int | None] = mapped_column(BigInteger)
    error_code: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]


class JobCount(Base):
    """The number of jobs in each state, as a sum of small rows: each change of state adds some, and a round folds them.

    Adding instead of updating one number, so that no two transactions ever wait for each other here.
    """

    __tablename__ = "job_count"
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = mapped_column(BigInteger)
    queue: Mapped[str] = mapped_column(Text)
    stage: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    jobs: Mapped[int] = mapped_column(BigInteger)  # more by so many, or fewer


class QueuePause(Base):
    """A queue that is held back, until a person resumes it or `until_at` passes."""

    __tablename__ = "queue_pause"
    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    paused_by: Mapped[str] = mapped_column(Text)
    paused_at: Mapped[CreatedAt]
    until_at: Mapped[Moment | None]


class Worker(Base):
    """A worker process as it last described itself; for people, no part of the protocol."""

    __tablename__ = "worker"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]
    stopped_at: Mapped[Moment | None]
    drain_requested_at: Mapped[Moment | None]
    drain_until: Mapped[Moment | None]  # then it hands back what it has not finished
    queue: Mapped[str | None] = mapped_column(Text)  # what it drains now; null while it waits
    teacher: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    tokens_per_s: Mapped[float | None] = mapped_column(Float)


class JobEventRow(Base):
    """Append-only: what happened to a job, when, under which lease."""

    __tablename__ = "job_event"
    __table_args__ = (
        CheckConstraint(_one_of("event", JobEvent), name="event"),
        PrimaryKeyConstraint("job_id", "id"),
    )
    job_id: Mapped[int] = mapped_column(BigInteger)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    event: Mapped[str] = mapped_column(Text)
    at: Mapped[CreatedAt]
    lease_id: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer)
    error_code: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)


class GenerationImport(Base):
    """A file of answers that others made; what came from it names it."""

    __tablename__ = "generation_import"
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256 | None]  # known once the file was read to its end
    created_at: Mapped[CreatedAt]


class Generation(Base):
    """One teacher's answer to one prompt. A second run or student reuses it for free."""

    __tablename__ = "generation"
    __table_args__ = (
        UniqueConstraint("prompt_id", "teacher_id", "sample_index"),
        CheckConstraint(
            """CASE origin
            WHEN 'generated' THEN import_id IS NULL AND job_id IS NOT NULL AND lease_id IS NOT NULL
            WHEN 'imported' THEN import_id IS NOT NULL AND job_id IS NULL AND lease_id IS NULL
            ELSE false END""",
            name="origin",
        ),
        CheckConstraint(
            "origin <> 'generated' OR num_nulls(prompt_tokens, completion_tokens, seed, latency_s) = 0",
            name="generated_is_measured",
        ),
    )
    id: Mapped[PrimaryKey]
    prompt_id: Mapped[int] = references("prompt.id")
    teacher_id: Mapped[int] = references("teacher.id")
    sample_index: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    text: Mapped[str] = mapped_column(Text)
    reasoning: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str] = mapped_column(Text)
    prompt_tokens: Mapped[int | None] = mapped_column(Integer)  # these four: unknown of an imported answer
    completion_tokens: Mapped[int | None] = mapped_column(Integer)
    seed: Mapped[int | None] = mapped_column(BigInteger)
    latency_s: Mapped[float | None] = mapped_column(Float)
    server_version: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[int | None] = references("job.id")
    lease_id: Mapped[int | None] = references("lease.id")
    origin: Mapped[str] = mapped_column(Text, server_default="generated")
    import_id: Mapped[int | None] = references("generation_import.id")
    created_at: Mapped[CreatedAt]


class Score(Base):
    """A scorer's raw value for a generation; normalising happens when it is read."""

    __tablename__ = "score"
    __table_args__ = (
        CheckConstraint("value <> 'NaN'::float8", name="value_is_a_number"),
        CheckConstraint(
            "(import_id IS NULL) = (job_id IS NOT NULL) AND (job_id IS NULL) = (lease_id IS NULL)", name="origin"
        ),
    )
    generation_id: Mapped[int] = references("generation.id", primary_key=True)
    scorer_id: Mapped[int] = references("scorer.id", primary_key=True)
    value: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    detail: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    job_id: Mapped[int | None] = references("job.id")
    lease_id: Mapped[int | None] = references("lease.id")
    import_id: Mapped[int | None] = references("generation_import.id")
    created_at: Mapped[CreatedAt]


class Router(Base):
    __tablename__ = "router"
    __table_args__ = (UniqueConstraint("run_id"),)
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    backbone: Mapped[str] = mapped_column(Text)
    teacher_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # in coefficient order
    alpha: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    normalisation: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    artifact_path: Mapped[str] = mapped_column(Text)
    artifact_sha256: Mapped[Sha256]
    metrics: Mapped[Json]
    code_version: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int] = references("job.id")
    lease_id: Mapped[int] = references("lease.id")
    created_at: Mapped[CreatedAt]


class RoutingDecision(Base):
    """A prompt's teacher and the reasons for it; `router_id` is null where no router was asked."""

    __tablename__ = "routing_decision"
    __table_args__ = (
        CheckConstraint(_one_of("basis", ("router", "budget", "static", "random", "measured")), name="basis"),
        CheckConstraint("(basis IN ('router', 'budget')) = (router_id IS NOT NULL)", name="router_named"),
        UniqueConstraint("run_id", "policy", "prompt_id"),
    )
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    prompt_id: Mapped[int] = references("prompt.id")
    policy: Mapped[str] = mapped_column(Text)
    basis: Mapped[str] = mapped_column(Text)  # measured: a calibration prompt's best answer, already paid for
    teacher_id: Mapped[int] = references("teacher.id")
    router_id: Mapped[int | None] = references("router.id")
    coefficients: Mapped[list[float] | None] = mapped_column(ARRAY(DOUBLE_PRECISION))  # the rewards where measured
    neighbour_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))  # calibration prompts, nearest first
    margin: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    lease_id: Mapped[int] = references("lease.id")
    created_at: Mapped[CreatedAt]


class Export(Base):
    __tablename__ = "export"
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    format: Mapped[str] = mapped_column(Text)
    layout: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256]
    rows: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]
