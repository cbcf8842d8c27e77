"""The results of a run: answers, scores, routers, decisions and exports."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Float,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persyn.db.models.base import Base, one_of
from persyn.db.types import CreatedAt, Json, PrimaryKey, Sha256, references


class GenerationImport(Base):
    """A file of answers that others made; what came from it names it."""

    __tablename__ = "generation_import"
    id: Mapped[PrimaryKey]
    run_id: Mapped[int | None] = references("run.id")  # none: its run was deleted, and others need its answers
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256 | None]  # known once the file was read to its end
    created_at: Mapped[CreatedAt]


# The servers' words for the ends of an answer, of several vendors. Only a cut answer is one all the same, and so is a
# call that is stored, without any text.
FLAW = r"""CASE
WHEN lower(finish_reason) IN ('content_filter', 'safety', 'prohibited_content', 'blocklist', 'recitation')
    THEN 'filtered'
WHEN lower(finish_reason) = 'refusal' THEN 'refused'
WHEN lower(finish_reason) IN ('tool_calls', 'tool_call', 'function_call', 'tool_use') AND tool_calls IS NULL
    THEN 'tool_call'
WHEN lower(finish_reason) IN ('error', 'abort', 'cancelled') THEN 'failed'
WHEN text !~ '\S' AND tool_calls IS NULL AND reasoning ~ '\S' THEN 'unfinished_thought'
WHEN text !~ '\S' AND tool_calls IS NULL THEN 'empty'
WHEN lower(finish_reason) IN ('length', 'max_tokens', 'model_length') THEN 'cut'
END"""


class Generation(Base):
    """One teacher's answer to one prompt. A second run or student reuses it for free.

    `flaw` says why the answer is none, or is cut; it is null for a whole answer. Postgres computes it from the answer
    itself, so that every way into the table is judged alike.
    """

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
            "origin <> 'generated' OR num_nulls(seed, latency_s) = 0",
            name="generated_is_measured",
        ),
    )
    id: Mapped[PrimaryKey]
    prompt_id: Mapped[int] = references("prompt.id")
    teacher_id: Mapped[int] = references("teacher.id")
    sample_index: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    text: Mapped[str] = mapped_column(Text)
    reasoning: Mapped[str | None] = mapped_column(Text)
    tool_calls: Mapped[list[Any] | None] = mapped_column(JSONB)  # of the prompt's tools; none: it calls none
    finish_reason: Mapped[str] = mapped_column(Text)
    prompt_tokens: Mapped[int | None] = mapped_column(Integer)  # these two: unknown where nobody counted
    completion_tokens: Mapped[int | None] = mapped_column(Integer)
    seed: Mapped[int | None] = mapped_column(BigInteger)
    latency_s: Mapped[float | None] = mapped_column(Float)
    server_version: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[int | None] = mapped_column(BigInteger)  # gone if its run was deleted: the answer may stay
    lease_id: Mapped[int | None] = mapped_column(BigInteger)  # held in the transaction that stores this
    origin: Mapped[str] = mapped_column(Text, server_default="generated")
    import_id: Mapped[int | None] = references("generation_import.id")
    created_at: Mapped[CreatedAt]
    flaw: Mapped[str | None] = mapped_column(Text, Computed(FLAW, persisted=True))


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
    job_id: Mapped[int | None] = mapped_column(BigInteger)  # likewise
    lease_id: Mapped[int | None] = mapped_column(BigInteger)  # held in the transaction that stores this
    import_id: Mapped[int | None] = references("generation_import.id")
    created_at: Mapped[CreatedAt]


BASES = ("router", "budget", "static", "random", "measured", "rerouted", "explored")


ARTIFACT_PLACES = ("database", "store", "host")


class Router(Base):
    """A trained router; its files are `artifact_chunk`s, or lie in a store by URL, or on the host that trained it."""

    __tablename__ = "router"
    __table_args__ = (
        UniqueConstraint("run_id"),
        CheckConstraint(one_of("artifact_place", ARTIFACT_PLACES), name="artifact_place"),
    )
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    backbone: Mapped[str] = mapped_column(Text)
    teacher_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # in coefficient order
    alpha: Mapped[float] = mapped_column(DOUBLE_PRECISION)
    normalisation: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    artifact_place: Mapped[str] = mapped_column(Text, server_default="host")
    artifact_path: Mapped[str] = mapped_column(Text)  # host: a folder; store: a name under PERSYN_ARTIFACTS_URL
    artifact_sha256: Mapped[Sha256]
    metrics: Mapped[Json]
    code_version: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int] = references("job.id")
    lease_id: Mapped[int] = references("lease.id")
    created_at: Mapped[CreatedAt]


CHUNK_BYTES = 1024 * 1024


class ArtifactChunk(Base):
    """A part of a file of a router, which every host can read; `sha256` is the router's `artifact_sha256`."""

    __tablename__ = "artifact_chunk"
    __table_args__ = (
        CheckConstraint(f"octet_length(content) BETWEEN 1 AND {CHUNK_BYTES}", name="size"),
        CheckConstraint("part >= 0", name="part"),
    )
    sha256: Mapped[Sha256] = mapped_column(primary_key=True)
    file: Mapped[str] = mapped_column(Text, primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RoutingDecision(Base):
    """A prompt's teacher and the reasons for it; `router_id` is null where no router was asked.

    Attempt 1 is the routing. A further one follows a failure: another teacher, by the chance that it has where those
    before it failed.
    """

    __tablename__ = "routing_decision"
    __table_args__ = (
        CheckConstraint(one_of("basis", BASES), name="basis"),
        CheckConstraint(
            "basis = 'rerouted' OR (basis IN ('router', 'budget', 'explored')) = (router_id IS NOT NULL)",
            name="router_named",
        ),
        CheckConstraint(
            "CASE basis WHEN 'explored' THEN coalesce(probability, 0) > 0 AND probability <= 1"
            " WHEN 'router' THEN coalesce(probability, 1) > 0 AND coalesce(probability, 1) <= 1"
            " ELSE probability IS NULL END",
            name="probability",
        ),
        CheckConstraint(
            "CASE WHEN attempt = 1 THEN basis <> 'rerouted' AND num_nonnulls(failed_teacher_ids, gain, price) = 0"
            " ELSE basis = 'rerouted' AND num_nulls(failed_teacher_ids, gain, price) = 0"
            " AND cardinality(failed_teacher_ids) = attempt - 1 END",
            name="rerouted_says_why",
        ),
        CheckConstraint("samples >= 1 AND (basis <> 'measured' OR samples = 1)", name="samples"),
        UniqueConstraint("run_id", "policy", "prompt_id", "attempt"),
        Index("ix_routing_decision_prompt_id", "prompt_id"),  # deleting a prompt looks for its decisions
        Index("ix_routing_decision_rerouted", "run_id", "created_at", postgresql_where=text("attempt > 1")),
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
    samples: Mapped[int] = mapped_column(Integer, server_default=text("1"))  # answers that the teacher is asked for
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    failed_teacher_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))  # those asked before, in order
    gain: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)  # expected improvement: the chance, of a 0/1 quality
    price: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)  # of the answer, in units of reroute.price
    # With which the teacher was chosen, where the run explores; null where nothing was left to chance.
    probability: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    lease_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]


class RoutingCoefficients(Base):
    """The router's output for a prompt that waits for a decision about the whole set, which takes the row away."""

    __tablename__ = "routing_coefficients"
    __table_args__ = (PrimaryKeyConstraint("run_id", "prompt_id"),)
    run_id: Mapped[int] = references("run.id")
    prompt_id: Mapped[int] = mapped_column(BigInteger)  # no foreign key: the row goes as soon as the decision is there
    training_job_id: Mapped[int] = mapped_column(BigInteger)  # the job that trained the router: another one differs
    coefficients: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION))
    neighbour_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    lease_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]


class Rerouting(Base):
    """The numbers by which a run reroutes, found once from its calibration."""

    __tablename__ = "rerouting"
    run_id: Mapped[int] = references("run.id", primary_key=True)
    bar: Mapped[float] = mapped_column(DOUBLE_PRECISION)  # raw quality that is good enough
    threshold: Mapped[float] = mapped_column(DOUBLE_PRECISION)  # the least gain that one unit of price must bring
    prices: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION))  # of an answer, in coefficient order
    lease_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]


class Export(Base):
    """A file of rows that was written, once for each file and call."""

    __tablename__ = "export"
    id: Mapped[PrimaryKey]
    run_id: Mapped[int] = references("run.id")
    format: Mapped[str] = mapped_column(Text)
    layout: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256]
    rows: Mapped[int] = mapped_column(BigInteger)
    policy: Mapped[str] = mapped_column(Text)  # whose choices it took
    keep: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))  # flaws that it let pass
    created_at: Mapped[CreatedAt]
