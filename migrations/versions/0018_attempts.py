"""Let a prompt be routed again where its answers are not good enough: attempts, and what they were decided by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_STAGES = "('train_router', 'route', 'reroute')"
_STAGES_BEFORE = "('train_router', 'route')"
_BASES = "basis IN ('router', 'budget', 'static', 'random', 'measured', 'rerouted')"
_BASES_BEFORE = "basis IN ('router', 'budget', 'static', 'random', 'measured')"
_ROUTER_NAMED = "(basis IN ('router', 'budget')) = (router_id IS NOT NULL)"


def upgrade() -> None:
    op.add_column("calibration_prompt", sa.Column("held_out_coefficients", postgresql.ARRAY(sa.Double())))
    op.add_column("routing_decision", sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("routing_decision", sa.Column("failed_teacher_ids", postgresql.ARRAY(sa.BigInteger())))
    op.add_column("routing_decision", sa.Column("gain", sa.Double()))
    op.add_column("routing_decision", sa.Column("price", sa.Double()))
    _constrain(["run_id", "policy", "prompt_id", "attempt"], _BASES, f"basis = 'rerouted' OR {_ROUTER_NAMED}", _STAGES)
    op.create_check_constraint(
        op.f("ck_routing_decision_rerouted_says_why"),
        "routing_decision",
        "CASE WHEN attempt = 1 THEN basis <> 'rerouted' AND num_nonnulls(failed_teacher_ids, gain, price) = 0"
        " ELSE basis = 'rerouted' AND num_nulls(failed_teacher_ids, gain, price) = 0"
        " AND cardinality(failed_teacher_ids) = attempt - 1 END",
    )
    op.create_index(
        "ix_routing_decision_rerouted", "routing_decision", ["run_id", "created_at"],
        postgresql_where=sa.text("attempt > 1"),
    )  # fmt: skip
    op.create_table(
        "rerouting",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("bar", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("prices", postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_rerouting")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_rerouting_run_id_run"), ondelete="RESTRICT"),
    )
    # A run that was made before this goes on as it began.
    op.execute("UPDATE run SET config = config || jsonb_build_object('reroute', 'off') WHERE NOT config ? 'reroute'")


def downgrade() -> None:
    op.execute("UPDATE run SET config = config - 'reroute'")
    op.drop_table("rerouting")
    op.execute("DELETE FROM routing_decision WHERE attempt > 1")
    for table in ("job_event", "job_count", "job"):
        _forget_rerouting(table)
    op.drop_index("ix_routing_decision_rerouted", "routing_decision")
    op.drop_constraint(op.f("ck_routing_decision_rerouted_says_why"), "routing_decision")
    _constrain(["run_id", "policy", "prompt_id"], _BASES_BEFORE, _ROUTER_NAMED, _STAGES_BEFORE)
    for column in ("price", "gain", "failed_teacher_ids", "attempt"):
        op.drop_column("routing_decision", column)
    op.drop_column("calibration_prompt", "held_out_coefficients")


def _constrain(unique: list[str], bases: str, router_named: str, stages: str) -> None:
    for name in ("uq_routing_decision_run_id_policy_prompt_id", "uq_routing_decision_run_id_policy_prompt_id_attempt"):
        op.execute(f"ALTER TABLE routing_decision DROP CONSTRAINT IF EXISTS {name}")
    op.create_unique_constraint(op.f(f"uq_routing_decision_{'_'.join(unique)}"), "routing_decision", unique)
    for name, condition in (("basis", bases), ("router_named", router_named)):
        op.drop_constraint(op.f(f"ck_routing_decision_{name}"), "routing_decision")
        op.create_check_constraint(op.f(f"ck_routing_decision_{name}"), "routing_decision", condition)
    op.drop_constraint(op.f("ck_job_kind"), "job")
    op.create_check_constraint(op.f("ck_job_kind"), "job", f"kind IN ('generate', 'score', {stages[1:-1]})")
    op.drop_index("uq_job_stage", "job")
    op.create_index(
        "uq_job_stage", "job", ["run_id", "kind"], unique=True,
        postgresql_where=sa.text(f"kind IN {stages} AND state <> 'done'"),
    )  # fmt: skip
    op.drop_index("ix_job_stage", "job")
    op.create_index("ix_job_stage", "job", ["run_id", "kind", "id"], postgresql_where=sa.text(f"kind IN {stages}"))


def _forget_rerouting(table: str) -> None:
    jobs = {
        "job": "kind = 'reroute'",
        "job_event": "job_id IN (SELECT id FROM job WHERE kind = 'reroute')",
        "job_count": "stage = 70",
    }
    op.execute(f"DELETE FROM {table} WHERE {jobs[table]}")
