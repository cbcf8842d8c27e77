"""Keep with each export whose choices it took, and which flawed answers it kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("export", sa.Column("policy", sa.Text(), nullable=True))
    op.add_column(
        "export",
        sa.Column("keep", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
    )
    # Until now an export took every answer, whatever spoke against it.
    op.execute("""
        UPDATE export SET policy = (SELECT r.policy FROM run r WHERE r.id = export.run_id),
                          keep = '{wrong,cut,empty,unfinished_thought,filtered,refused,tool_call,failed}'
    """)
    op.alter_column("export", "policy", nullable=False)


def downgrade() -> None:
    op.drop_column("export", "keep")
    op.drop_column("export", "policy")
