"""Let a decision say how many answers its teacher is asked for, of which the best is taken."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    samples = sa.Column("samples", sa.Integer(), server_default=sa.text("1"), nullable=False)
    op.add_column("routing_decision", samples)
    op.create_check_constraint(
        op.f("ck_routing_decision_samples"),
        "routing_decision",
        "samples >= 1 AND (basis <> 'measured' OR samples = 1)",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_routing_decision_samples"), "routing_decision")
    op.drop_column("routing_decision", "samples")
