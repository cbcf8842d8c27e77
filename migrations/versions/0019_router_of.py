"""Let a run go by the router of another run."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("router_run_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_run_router_run_id_run"), "run", "run", ["router_run_id"], ["id"], ondelete="RESTRICT"
    )
    op.create_check_constraint(op.f("ck_run_another_runs_router"), "run", "router_run_id <> id")
    op.create_index(
        op.f("ix_run_router_run_id"), "run", ["router_run_id"], postgresql_where=sa.text("router_run_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_run_router_run_id"), "run")
    op.drop_constraint(op.f("ck_run_another_runs_router"), "run")
    op.drop_constraint(op.f("fk_run_router_run_id_run"), "run")
    op.drop_column("run", "router_run_id")
