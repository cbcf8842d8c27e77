"""Rename the column `priority` of jobs and of their counts to `stage`, which is what it holds."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("job", "priority", new_column_name="stage")
    op.alter_column("job_count", "priority", new_column_name="stage")


def downgrade() -> None:
    op.alter_column("job", "stage", new_column_name="priority")
    op.alter_column("job_count", "stage", new_column_name="priority")
