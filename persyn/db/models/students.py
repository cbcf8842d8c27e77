"""Trained students, and the trainings that were asked for."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persyn.db.models.base import Base, one_of
from persyn.db.models.results import ARTIFACT_PLACES
from persyn.db.types import CreatedAt, Json, PrimaryKey, Sha256, references


class StudentModel(Base):
    """A trained student. `key_sha256` stands for its rows, base, hyperparameters and seed: each is trained once.

    It names no run and no policy, because those that chose the same rows share it. Its files are `artifact_chunk`s, or
    lie in a store by URL, or on the host that trained it.
    """

    __tablename__ = "student_model"
    __table_args__ = (
        UniqueConstraint("key_sha256"),
        CheckConstraint(one_of("artifact_place", ARTIFACT_PLACES), name="artifact_place"),
        CheckConstraint("rows > 0 AND tokens > 0 AND steps > 0 AND cardinality(losses) = steps", name="counts"),
        CheckConstraint("final_loss <> 'NaN'::float8", name="final_loss_is_a_number"),
    )
    id: Mapped[PrimaryKey]
    key_sha256: Mapped[Sha256]
    student_id: Mapped[int] = references("student.id")
    base_sha256: Mapped[Sha256]  # of the base's weights as they were loaded
    rows_sha256: Mapped[Sha256]  # of the rows' token ids and labels
    hyperparameters: Mapped[Json]
    seed: Mapped[int] = mapped_column(BigInteger)
    dtype: Mapped[str] = mapped_column(Text)
    rows: Mapped[int] = mapped_column(BigInteger)
    left_out: Mapped[Json]  # answers that gave no row, by reason
    tokens: Mapped[int] = mapped_column(BigInteger)  # of which a loss was taken, in all passes
    steps: Mapped[int] = mapped_column(Integer)
    seconds: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    losses: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION))  # of each step, in nats a token
    final_loss: Mapped[float] = mapped_column(DOUBLE_PRECISION)  # the mean of the last pass
    artifact_place: Mapped[str] = mapped_column(Text)
    artifact_path: Mapped[str] = mapped_column(Text)  # as a router's
    artifact_sha256: Mapped[Sha256]
    code_version: Mapped[str] = mapped_column(Text)
    trained_with: Mapped[Json]  # the versions of torch, transformers, TRL and PEFT
    job_id: Mapped[int] = mapped_column(BigInteger)  # gone if its run was deleted: another's may share the model
    lease_id: Mapped[int] = mapped_column(BigInteger)  # held in the transaction that stores this
    created_at: Mapped[CreatedAt]


class AskedTraining(Base):
    """A training that was asked for: which answers of a run teach its student, by which policy, and how.

    The answers are fixed when it is asked for, so that a job that is tried again trains on the same ones.
    """

    __tablename__ = "student_training"
    __table_args__ = (
        UniqueConstraint(
            "run_id", "policy", "seed", "settings_sha256", "answers_sha256", name="uq_student_training_asked_once"
        ),
        UniqueConstraint("job_id"),
    )
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    policy: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)  # student.training as it was
    settings_sha256: Mapped[Sha256]  # of its hyperparameters
    generation_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # the answers, in the prompts' order
    with_reasoning: Mapped[bool] = mapped_column(Boolean)  # whether a thought is learnt before its answer
    answers_sha256: Mapped[Sha256]  # of the last two
    job_id: Mapped[int] = references("job.id")
    model_id: Mapped[int | None] = references("student_model.id")
    again: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # though the model exists
    created_at: Mapped[CreatedAt]
