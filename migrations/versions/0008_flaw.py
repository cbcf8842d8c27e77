"""Say of each answer what is wrong with it as an answer, and let token counts that nobody knows be unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FLAW = r"""CASE
WHEN lower(finish_reason) IN ('content_filter', 'safety', 'prohibited_content', 'blocklist', 'recitation')
    THEN 'filtered'
WHEN lower(finish_reason) = 'refusal' THEN 'refused'
WHEN lower(finish_reason) IN ('tool_calls', 'tool_call', 'function_call', 'tool_use') THEN 'tool_call'
WHEN lower(finish_reason) IN ('error', 'abort', 'cancelled') THEN 'failed'
WHEN text !~ '\S' AND reasoning ~ '\S' THEN 'unfinished_thought'
WHEN text !~ '\S' THEN 'empty'
WHEN lower(finish_reason) IN ('length', 'max_tokens', 'model_length') THEN 'cut'
END"""


def upgrade() -> None:
    op.add_column("generation", sa.Column("flaw", sa.Text(), sa.Computed(_FLAW, persisted=True), nullable=True))
    op.drop_constraint(op.f("ck_generation_generated_is_measured"), "generation")
    op.create_check_constraint(
        op.f("ck_generation_generated_is_measured"),
        "generation",
        "origin <> 'generated' OR num_nulls(seed, latency_s) = 0",
    )


def downgrade() -> None:
    op.execute("UPDATE generation SET prompt_tokens = coalesce(prompt_tokens, 0) WHERE origin = 'generated'")
    op.execute("UPDATE generation SET completion_tokens = coalesce(completion_tokens, 0) WHERE origin = 'generated'")
    op.drop_constraint(op.f("ck_generation_generated_is_measured"), "generation")
    op.create_check_constraint(
        op.f("ck_generation_generated_is_measured"),
        "generation",
        "origin <> 'generated' OR num_nulls(prompt_tokens, completion_tokens, seed, latency_s) = 0",
    )
    op.drop_column("generation", "flaw")
