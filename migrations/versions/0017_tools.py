"""Keep the tools that a prompt offers and the calls that an answer makes, which are an answer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_FLAW_BEFORE = r"""CASE
WHEN lower(finish_reason) IN ('content_filter', 'safety', 'prohibited_content', 'blocklist', 'recitation')
    THEN 'filtered'
WHEN lower(finish_reason) = 'refusal' THEN 'refused'
WHEN lower(finish_reason) IN ('tool_calls', 'tool_call', 'function_call', 'tool_use') THEN 'tool_call'
WHEN lower(finish_reason) IN ('error', 'abort', 'cancelled') THEN 'failed'
WHEN text !~ '\S' AND reasoning ~ '\S' THEN 'unfinished_thought'
WHEN text !~ '\S' THEN 'empty'
WHEN lower(finish_reason) IN ('length', 'max_tokens', 'model_length') THEN 'cut'
END"""

_FLAW = r"""CASE
WHEN lower(finish_reason) IN ('content_filter', 'safety', 'prohibited_content', 'blocklist', 'recitation')
    THEN 'filtered'
WHEN lower(finish_reason) = 'refusal' THEN 'refused'
WHEN lower(finish_reason) IN ('tool_calls', 'tool_call', 'function_call', 'tool_use') AND tool_calls IS NULL
    THEN 'tool_call'
WHEN lower(finish_reason) IN ('error', 'abort', 'cancelled') THEN 'failed'
WHEN text !~ '\S' AND tool_calls IS NULL AND reasoning ~ '\S' THEN 'unfinished_thought'
WHEN text !~ '\S' AND tool_calls IS NULL THEN 'empty'
WHEN lower(finish_reason) IN ('length', 'max_tokens', 'model_length') THEN 'cut'
END"""


def upgrade() -> None:
    op.add_column("prompt", sa.Column("tools", postgresql.JSON(), nullable=True))
    op.add_column("generation", sa.Column("tool_calls", postgresql.JSONB(), nullable=True))
    _judge_by(_FLAW)


def downgrade() -> None:
    _judge_by(_FLAW_BEFORE)
    op.drop_column("generation", "tool_calls")
    op.drop_column("prompt", "tools")


def _judge_by(flaw: str) -> None:
    """Postgres 15 changes no computed column: it goes, and comes again."""
    op.drop_column("generation", "flaw")
    op.add_column("generation", sa.Column("flaw", sa.Text(), sa.Computed(flaw, persisted=True), nullable=True))
