"""Keep an operator's pause of a queue beside a worker's, and let a worker say what it cannot serve."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("queue_pause", sa.Column("kind", sa.Text(), server_default=sa.text("'operator'"), nullable=False))
    # A person is called user@host there, a worker host:process.
    op.execute("UPDATE queue_pause SET kind = 'worker' WHERE paused_by ~ '^[^@]+:[0-9]+$' AND until_at IS NOT NULL")
    op.create_check_constraint(op.f("ck_queue_pause_kind"), "queue_pause", "kind IN ('operator', 'worker')")
    op.drop_constraint(op.f("pk_queue_pause"), "queue_pause")
    op.create_primary_key(op.f("pk_queue_pause"), "queue_pause", ["queue", "kind"])
    op.add_column(
        "worker", sa.Column("unfit", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("worker", "unfit")
    op.execute(
        "DELETE FROM queue_pause p WHERE kind = 'worker' AND EXISTS ("
        "SELECT FROM queue_pause o WHERE o.queue = p.queue AND o.kind = 'operator')"
    )
    op.drop_constraint(op.f("pk_queue_pause"), "queue_pause")
    op.create_primary_key(op.f("pk_queue_pause"), "queue_pause", ["queue"])
    op.drop_constraint(op.f("ck_queue_pause_kind"), "queue_pause")
    op.drop_column("queue_pause", "kind")
