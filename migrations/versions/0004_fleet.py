"""Pauses, the workers as rows, the jobs' counts, and a job table that is quick to write."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")


def _moment(name: str, *, now: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=_NOW if now else None, nullable=not now)


def upgrade() -> None:
    op.create_table(
        "queue_pause",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        _moment("paused_at", now=True),
        _moment("until_at"),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_pause")),
    )
    op.add_column("run", _moment("paused_at"))
    op.add_column("run", sa.Column("pause_reason", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("paused_by", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("prompt_count", sa.BigInteger(), nullable=True))
    op.add_column("run", sa.Column("decided_count", sa.BigInteger(), nullable=True))
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        _moment("started_at", now=True),
        _moment("seen_at", now=True),
        _moment("stopped_at"),
        _moment("drain_requested_at"),
        _moment("drain_until"),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("tokens_per_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    _make_job_quick()
    _count_jobs()


# What each of them cost at enqueuing, and how it is guaranteed otherwise, stands in the models.
_JOB_REFERENCES = {
    "run_id": "run", "prompt_id": "prompt", "teacher_id": "teacher", "generation_id": "generation",
    "scorer_id": "scorer", "lease_id": "lease",
}  # fmt: skip


def _make_job_quick() -> None:
    for column, table in _JOB_REFERENCES.items():
        op.drop_constraint(f"fk_job_{column}_{table}", "job", type_="foreignkey")
    op.drop_index("ix_job_run_id_kind_state", table_name="job")
    op.drop_index("ix_job_ready", table_name="job")
    op.create_index(
        "ix_job_ready", "job", ["queue", "run_id", "priority", "not_before", "id"],
        postgresql_where=sa.text("state = 'ready' AND lost_count < 2"),
    )  # fmt: skip
    op.create_index("ix_job_suspect", "job", ["queue"], postgresql_where=sa.text("state = 'ready' AND lost_count >= 2"))
    op.create_index("ix_job_dead", "job", ["run_id", "id"], postgresql_where=sa.text("state = 'dead'"))
    _make_unique_generate("teacher_id", "prompt_id")
    op.drop_index("ix_job_event_job_id_id", table_name="job_event")
    op.drop_constraint("pk_job_event", "job_event", type_="primary")
    op.create_primary_key("pk_job_event", "job_event", ["job_id", "id"])


def _make_unique_generate(*middle: str) -> None:
    """In the order of enqueuing (teacher before prompt) the index grows at its end."""
    op.drop_index("uq_job_generate", table_name="job")
    op.create_index(
        "uq_job_generate", "job", ["run_id", *middle, "sample_index"], unique=True,
        postgresql_where=sa.text("kind = 'generate'"),
    )  # fmt: skip


def _count_jobs() -> None:
    op.create_table(
        "job_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_count")),
    )
    op.execute("""
        INSERT INTO job_count (run_id, queue, priority, state, jobs)
        SELECT run_id, queue, priority, state, count(*) FROM job GROUP BY run_id, queue, priority, state
    """)


def downgrade() -> None:
    op.drop_table("job_count")
    op.drop_constraint("pk_job_event", "job_event", type_="primary")
    op.create_primary_key("pk_job_event", "job_event", ["id"])
    op.create_index("ix_job_event_job_id_id", "job_event", ["job_id", "id"])
    _make_unique_generate("prompt_id", "teacher_id")
    op.drop_index("ix_job_dead", table_name="job")
    op.drop_index("ix_job_suspect", table_name="job")
    op.drop_index("ix_job_ready", table_name="job")
    op.create_index("ix_job_ready", "job", ["queue", "priority", "id"], postgresql_where=sa.text("state = 'ready'"))
    op.create_index("ix_job_run_id_kind_state", "job", ["run_id", "kind", "state"])
    for column, table in _JOB_REFERENCES.items():
        op.create_foreign_key(f"fk_job_{column}_{table}", "job", table, [column], ["id"], ondelete="RESTRICT")
    op.drop_table("worker")
    op.drop_column("run", "decided_count")
    op.drop_column("run", "prompt_count")
    op.drop_column("run", "paused_by")
    op.drop_column("run", "pause_reason")
    op.drop_column("run", "paused_at")
    op.drop_table("queue_pause")
