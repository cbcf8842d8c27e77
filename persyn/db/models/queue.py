"""The queue: its deployment, leases, jobs, their events, pauses and workers. `job` stays narrow because it is hot."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persyn.db.models.base import Base, one_of
from persyn.db.types import CreatedAt, Moment, PrimaryKey
from persyn.states import JobEvent, JobState

JOB_KINDS = ("generate", "score", "train_router", "route", "reroute", "train_student")


class Deployment(Base):
    """One row: the name that this database has among others that share its broker."""

    __tablename__ = "deployment"
    __table_args__ = (CheckConstraint("single", name="single"),)
    single: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    id: Mapped[str] = mapped_column(Text, server_default=text("left(md5(gen_random_uuid()::text), 12)"))
    created_at: Mapped[CreatedAt]


class Lease(Base):
    """A worker's right to a batch of jobs; never reused, and deleted only when it is old and nothing names it."""

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
        CheckConstraint(one_of("kind", JOB_KINDS), name="kind"),
        CheckConstraint(one_of("state", JobState), name="state"),
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
        CheckConstraint(
            "CASE num_nulls(first_prompt_id, last_prompt_id) WHEN 2 THEN true"
            " WHEN 0 THEN kind = 'route' AND first_prompt_id <= last_prompt_id ELSE false END",
            name="range",
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
            # One at a time: answers that came after a run was rerouted are looked at by a further job.
            postgresql_where=text(
                "kind IN ('train_router', 'route', 'reroute') AND first_prompt_id IS NULL AND state <> 'done'"
            ),
        ),
        Index(
            "uq_job_range",
            "run_id",
            "first_prompt_id",
            unique=True,
            # Prompts that came after a run was routed may lie between those of a range that is done.
            postgresql_where=text("kind = 'route' AND first_prompt_id IS NOT NULL AND state <> 'done'"),
        ),
        Index(
            "ix_job_stage",
            "run_id",
            "kind",
            "id",
            postgresql_where=text("kind IN ('train_router', 'route', 'reroute')"),
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
    # No foreign keys: half of an enqueue's time went into looking up what its own SELECT had just read. A row that a
    # job names is deleted only together with the job; `audit.integrity` looks.
    run_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    prompt_id: Mapped[int | None] = mapped_column(BigInteger)
    teacher_id: Mapped[int | None] = mapped_column(BigInteger)
    sample_index: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    generation_id: Mapped[int | None] = mapped_column(BigInteger)
    scorer_id: Mapped[int | None] = mapped_column(BigInteger)
    # The prompts that a job routes, those of its run's set between these two; null: all of them.
    first_prompt_id: Mapped[int | None] = mapped_column(BigInteger)
    last_prompt_id: Mapped[int | None] = mapped_column(BigInteger)
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
    """A queue that an operator holds back, or the part of it whose endpoint a worker does, until a person resumes it or
    `until_at` passes.
    """

    __tablename__ = "queue_pause"
    __table_args__ = (
        CheckConstraint(one_of("kind", ("operator", "worker")), name="kind"),
        PrimaryKeyConstraint("queue", "kind", "teacher_id", "scorer_id"),
    )
    queue: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text, server_default=text("'operator'"))
    # The teacher version or the scorer that it is about; both 0: the whole queue.
    teacher_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    scorer_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
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
    # A list of {queue, reason, again_at}: what it cannot serve now, and when it looks again.
    unfit: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))


class JobEventRow(Base):
    """Append-only: what happened to a job, when, under which lease."""

    __tablename__ = "job_event"
    __table_args__ = (
        CheckConstraint(one_of("event", JobEvent), name="event"),
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
