"""Give this database a name of its own, which stands before its keys in a broker that it shares with others."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Text(), server_default=sa.text("left(md5(gen_random_uuid()::text), 12)"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_deployment_single")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_deployment")),
    )
    op.execute("INSERT INTO deployment DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("deployment")
