"""Keep when a run's configuration was last written, so that workers read an endpoint's newest address and limits."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.add_column("run", sa.Column("configured_at", sa.DateTime(timezone=True), server_default=now, nullable=False))
    op.execute("UPDATE run SET configured_at = created_at")


def downgrade() -> None:
    op.drop_column("run", "configured_at")
