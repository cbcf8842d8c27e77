"""Let many jobs route one run, a range of prompts each, and keep what a decision about the whole set waits for.

The one job that routed a run before names no range: it is about the whole set, and goes on as it is.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_STAGES = "kind IN ('train_router', 'route', 'reroute')"


def upgrade() -> None:
    op.add_column("job", sa.Column("first_prompt_id", sa.BigInteger()))
    op.add_column("job", sa.Column("last_prompt_id", sa.BigInteger()))
    op.create_check_constraint(
        op.f("ck_job_range"),
        "job",
        "CASE num_nulls(first_prompt_id, last_prompt_id) WHEN 2 THEN true"
        " WHEN 0 THEN kind = 'route' AND first_prompt_id <= last_prompt_id ELSE false END",
    )
    _one_open_stage_job(f"{_STAGES} AND first_prompt_id IS NULL AND state <> 'done'")
    op.create_index(
        "uq_job_range", "job", ["run_id", "first_prompt_id"], unique=True,
        postgresql_where=sa.text("kind = 'route' AND first_prompt_id IS NOT NULL AND state <> 'done'"),
    )  # fmt: skip
    op.create_table(
        "routing_coefficients",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("training_job_id", sa.BigInteger(), nullable=False),
        sa.Column("coefficients", postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column("neighbour_ids", postgresql.ARRAY(sa.BigInteger())),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", name=op.f("pk_routing_coefficients")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_routing_coefficients_run_id_run"), ondelete="RESTRICT"
        ),
    )


def downgrade() -> None:
    op.drop_table("routing_coefficients")
    # What a decision about the whole set waited for is computed anew by its one job.
    _forget_ranges("r.policy = 'budgeted'")
    # Elsewhere one open job goes on for all, by preference one that nothing keeps from going on.
    _forget_ranges("""
        job.state <> 'done' AND job.id <> (
            SELECT kept.id FROM job AS kept
            WHERE kept.run_id = job.run_id AND kept.kind = 'route' AND kept.state <> 'done'
            ORDER BY array_position(ARRAY['leased', 'ready', 'dead', 'cancelled'], kept.state), kept.id LIMIT 1)
    """)
    op.drop_index("uq_job_range", "job")
    _one_open_stage_job(f"{_STAGES} AND state <> 'done'")
    op.drop_constraint(op.f("ck_job_range"), "job")
    op.drop_column("job", "last_prompt_id")
    op.drop_column("job", "first_prompt_id")


def _one_open_stage_job(condition: str) -> None:
    op.drop_index("uq_job_stage", "job")
    op.create_index("uq_job_stage", "job", ["run_id", "kind"], unique=True, postgresql_where=sa.text(condition))


def _forget_ranges(which: str) -> None:
    """Remove jobs that route a range, with their events and counts."""
    op.execute(f"""
    WITH gone AS (
        DELETE FROM job USING run r
        WHERE r.id = job.run_id AND job.kind = 'route' AND job.first_prompt_id IS NOT NULL AND {which}
        RETURNING job.id, job.run_id, job.queue, job.stage, job.state
    ), counted AS (
        INSERT INTO job_count (run_id, queue, stage, state, jobs)
        SELECT run_id, queue, stage, state, -count(*) FROM gone GROUP BY run_id, queue, stage, state
    )
    DELETE FROM job_event WHERE job_id IN (SELECT id FROM gone)
    """)
