"""Let a worker hold back the part of a queue whose endpoint is at fault, and no neighbour's work."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("teacher_id", "scorer_id"):
        op.add_column("queue_pause", sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.drop_constraint(op.f("pk_queue_pause"), "queue_pause")
    op.create_primary_key(op.f("pk_queue_pause"), "queue_pause", ["queue", "kind", "teacher_id", "scorer_id"])


def downgrade() -> None:
    op.execute("DELETE FROM queue_pause WHERE teacher_id + scorer_id > 0")
    op.drop_constraint(op.f("pk_queue_pause"), "queue_pause")
    op.create_primary_key(op.f("pk_queue_pause"), "queue_pause", ["queue", "kind"])
    op.drop_column("queue_pause", "scorer_id")
    op.drop_column("queue_pause", "teacher_id")
