"""Keep a router's files in the database, or in a store that every host reaches, and say where they are."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifact_chunk",
        sa.Column("sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(content) BETWEEN 1 AND 1048576", name="size"),
        sa.CheckConstraint("part >= 0", name="part"),
        sa.PrimaryKeyConstraint("sha256", "file", "part"),
    )
    op.add_column("router", sa.Column("artifact_place", sa.Text(), server_default="host", nullable=False))
    op.create_check_constraint("artifact_place", "router", "artifact_place IN ('database', 'store', 'host')")


def downgrade() -> None:
    op.drop_column("router", "artifact_place")
    op.drop_table("artifact_chunk")
