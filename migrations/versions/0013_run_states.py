"""Let a run be cancelled, say what blocks it, route again what came later, and be deleted with its jobs.

A job goes with its run while its answer may stay for another run, so answers and scores lose their foreign keys to it.
The lease of a result is held in the transaction that stores the result; without foreign keys to leases, deleting an old
one need not read every result.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_STAGE_KINDS = "kind IN ('train_router', 'route')"


def upgrade() -> None:
    op.add_column("run", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("run", sa.Column("cancelled_by", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("blocked_reason", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("events_pruned_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_run_cancelled_says_who"), "run", "(cancelled_at IS NULL) = (cancelled_by IS NULL)"
    )
    for table in ("generation", "score"):
        op.drop_constraint(op.f(f"fk_{table}_job_id_job"), table)
    for table in ("generation", "score", "routing_decision"):
        op.drop_constraint(op.f(f"fk_{table}_lease_id_lease"), table)
    for table in ("calibration_prompt", "routing_decision"):
        op.create_index(op.f(f"ix_{table}_prompt_id"), table, ["prompt_id"])
    op.alter_column("generation_import", "run_id", nullable=True)
    op.drop_index("uq_job_stage", "job")
    op.create_index(
        "uq_job_stage", "job", ["run_id", "kind"], unique=True,
        postgresql_where=sa.text(f"{_STAGE_KINDS} AND state <> 'done'"),
    )  # fmt: skip
    op.create_index("ix_job_stage", "job", ["run_id", "kind", "id"], postgresql_where=sa.text(_STAGE_KINDS))


def downgrade() -> None:
    op.drop_index("ix_job_stage", "job")
    op.drop_index("uq_job_stage", "job")
    _keep_one_job_a_stage()
    op.create_index("uq_job_stage", "job", ["run_id", "kind"], unique=True, postgresql_where=sa.text(_STAGE_KINDS))
    # An answer or an import whose run was deleted names nothing any more; an older version must not find it.
    op.execute(
        "DELETE FROM score s WHERE s.job_id IS NOT NULL AND NOT EXISTS (SELECT FROM job j WHERE j.id = s.job_id)"
    )
    op.execute("""
    DELETE FROM score s USING generation g LEFT JOIN generation_import i ON i.id = g.import_id
    WHERE g.id = s.generation_id AND (i.run_id IS NULL AND g.import_id IS NOT NULL
       OR g.job_id IS NOT NULL AND NOT EXISTS (SELECT FROM job j WHERE j.id = g.job_id))
    """)
    op.execute("DELETE FROM score s USING generation_import i WHERE i.id = s.import_id AND i.run_id IS NULL")
    op.execute("""
    DELETE FROM generation g WHERE g.job_id IS NOT NULL AND NOT EXISTS (SELECT FROM job j WHERE j.id = g.job_id)
       OR EXISTS (SELECT FROM generation_import i WHERE i.id = g.import_id AND i.run_id IS NULL)
    """)
    op.execute("DELETE FROM generation_import WHERE run_id IS NULL")
    op.alter_column("generation_import", "run_id", nullable=False)
    for table in ("routing_decision", "calibration_prompt"):
        op.drop_index(op.f(f"ix_{table}_prompt_id"), table)
    for table, other in (*((table, "lease") for table in ("routing_decision", "score", "generation")),
                         ("score", "job"), ("generation", "job")):  # fmt: skip
        op.create_foreign_key(
            op.f(f"fk_{table}_{other}_id_{other}"), table, other, [f"{other}_id"], ["id"], ondelete="RESTRICT"
        )
    op.drop_constraint(op.f("ck_run_cancelled_says_who"), "run")
    for column in ("events_pruned_at", "blocked_reason", "cancelled_by", "cancelled_at"):
        op.drop_column("run", column)


def _keep_one_job_a_stage() -> None:
    """The newest; an older version knows one pass of routing a run."""
    op.execute(f"""
    WITH gone AS (
        DELETE FROM job WHERE {_STAGE_KINDS} AND state = 'done' AND id < (
            SELECT max(other.id) FROM job AS other WHERE other.run_id = job.run_id AND other.kind = job.kind)
        AND NOT EXISTS (SELECT FROM router WHERE router.job_id = job.id)
        RETURNING id, run_id, queue, stage, state
    ), counted AS (
        INSERT INTO job_count (run_id, queue, stage, state, jobs)
        SELECT run_id, queue, stage, state, -count(*) FROM gone GROUP BY run_id, queue, stage, state
    )
    DELETE FROM job_event WHERE job_id IN (SELECT id FROM gone)
    """)
