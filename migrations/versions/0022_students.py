"""Train students: the models, the trainings that were asked for, and their kind of job."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_KINDS_BEFORE = "kind IN ('generate', 'score', 'train_router', 'route', 'reroute')"
_KINDS = _KINDS_BEFORE.replace("'reroute'", "'reroute', 'train_student'")


def upgrade() -> None:
    _constrain_kinds(_KINDS)
    op.create_table(
        "student_model",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("student_id", sa.BigInteger(), nullable=False),
        sa.Column("base_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("rows_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("hyperparameters", postgresql.JSONB(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("left_out", postgresql.JSONB(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("losses", postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column("final_loss", sa.Double(), nullable=False),
        sa.Column("artifact_place", sa.Text(), nullable=False),
        sa.Column("artifact_path", sa.Text(), nullable=False),
        sa.Column("artifact_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("trained_with", postgresql.JSONB(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_student_model")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_student_model_key_sha256")),
        _foreign("student_model", "student"),
        sa.CheckConstraint(
            "artifact_place IN ('database', 'store', 'host')", name=op.f("ck_student_model_artifact_place")
        ),
        sa.CheckConstraint(
            "rows > 0 AND tokens > 0 AND steps > 0 AND cardinality(losses) = steps",
            name=op.f("ck_student_model_counts"),
        ),
        sa.CheckConstraint("final_loss <> 'NaN'::float8", name=op.f("ck_student_model_final_loss_is_a_number")),
    )
    op.create_table(
        "student_training",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("settings_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("generation_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("with_reasoning", sa.Boolean(), nullable=False),
        sa.Column("answers_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=True),
        sa.Column("again", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_student_training")),
        sa.UniqueConstraint(
            "run_id", "policy", "seed", "settings_sha256", "answers_sha256",
            name=op.f("uq_student_training_asked_once"),
        ),
        sa.UniqueConstraint("job_id", name=op.f("uq_student_training_job_id")),
        *(_foreign("student_training", table, column) for table, column in (
            ("run", "run_id"), ("job", "job_id"), ("student_model", "model_id"))),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("student_training")
    op.drop_table("student_model")
    op.execute("DELETE FROM job_event WHERE job_id IN (SELECT id FROM job WHERE kind = 'train_student')")
    op.execute("DELETE FROM job_count WHERE stage = 80")
    op.execute("DELETE FROM job WHERE kind = 'train_student'")
    _constrain_kinds(_KINDS_BEFORE)


def _constrain_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_job_kind"), "job")
    op.create_check_constraint(op.f("ck_job_kind"), "job", kinds)


def _created_at() -> sa.Column[object]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
    )


def _foreign(table: str, other: str, column: str = "student_id") -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="RESTRICT")
