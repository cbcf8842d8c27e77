"""A run and what it stands on: prompts, teachers, the student and the scorers."""

from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persyn.config import Policy
from persyn.db.models.base import Base, one_of
from persyn.db.types import CreatedAt, Json, Moment, PrimaryKey, Sha256, references


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
    sha256: Mapped[Sha256]  # of the canonical messages, and of the tools where it has some
    messages: Mapped[list[Any]] = mapped_column(JSONB)
    # As json, which keeps the order of keys: a teacher reads it. Null: the prompt has nothing to do with tools.
    tools: Mapped[list[Any] | None] = mapped_column(JSON)
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
        CheckConstraint(one_of("kind", ("quality", "learnability")), name="kind"),
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
        CheckConstraint(one_of("policy", get_args(Policy)), name="policy"),
        CheckConstraint("alpha BETWEEN 0 AND 1", name="alpha"),
        CheckConstraint("(cancelled_at IS NULL) = (cancelled_by IS NULL)", name="cancelled_says_who"),
        CheckConstraint("router_run_id <> id", name="another_runs_router"),
        Index("ix_run_router_run_id", "router_run_id", postgresql_where=text("router_run_id IS NOT NULL")),
    )
    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(Text, unique=True)
    prompt_set_id: Mapped[int] = references("prompt_set.id")
    student_id: Mapped[int] = references("student.id")
    router_run_id: Mapped[int | None] = references("run.id")  # whose calibration and router it goes by; none: its own
    policy: Mapped[str] = mapped_column(Text)
    alpha: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    config: Mapped[Json]  # as given, defaults filled in
    config_sha256: Mapped[Sha256]
    code_version: Mapped[str] = mapped_column(Text)
    library_versions: Mapped[Json]
    target_stage: Mapped[int] = mapped_column(Integer)  # how far the pipeline may take it by itself
    finished_at: Mapped[Moment | None]  # set once nothing is left to do; new work clears it
    created_at: Mapped[CreatedAt]
    configured_at: Mapped[CreatedAt]  # when its configuration was last written: the latest tells where endpoints are
    paused_at: Mapped[Moment | None]  # its jobs are not claimed while this is set
    pause_reason: Mapped[str | None] = mapped_column(Text)
    paused_by: Mapped[str | None] = mapped_column(Text)
    cancelled_at: Mapped[Moment | None]  # an operator ended it; only an operator lets it go on
    cancelled_by: Mapped[str | None] = mapped_column(Text)
    # Why the last look could take it no further: with `finished_at` the run has failed, else the look itself did.
    blocked_reason: Mapped[str | None] = mapped_column(Text)
    events_pruned_at: Mapped[Moment | None]  # the events of its finished jobs were removed
    # Counted once its routing is done, so that showing its progress need not count millions of rows again.
    prompt_count: Mapped[int | None] = mapped_column(BigInteger)
    decided_count: Mapped[int | None] = mapped_column(BigInteger)
    # Whether its router learns from the answers to routed prompts too; whoever trains it anew says so.
    with_routed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


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
    __table_args__ = (
        CheckConstraint(one_of("split", ("train", "validation")), name="split"),
        Index("ix_calibration_prompt_prompt_id", "prompt_id"),  # deleting a prompt looks here
    )
    run_id: Mapped[int] = references("run.id", primary_key=True)
    prompt_id: Mapped[int] = references("prompt.id", primary_key=True)
    split: Mapped[str] = mapped_column(Text)
    # By the router that never saw it, kept when the run's router is trained; null where there is none.
    held_out_coefficients: Mapped[list[float] | None] = mapped_column(ARRAY(DOUBLE_PRECISION))
