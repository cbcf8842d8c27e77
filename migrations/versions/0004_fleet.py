"""Pauses, the workers as rows, the jobs' counts, and a job table that is quick to write."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

# Frozen as they were when this migration was written.
INTEGRITY_BEFORE = """\
-- Does everything hold that must hold? One row per invariant; violations must be 0.
WITH step AS (
    SELECT e.job_id, e.event, e.id,
           lag(e.event) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
    FROM job_event e
),
last_event AS (
    SELECT DISTINCT ON (e.job_id) e.job_id, e.event
    FROM job_event e
    ORDER BY e.job_id, e.id DESC
)
SELECT 'job_events_form_a_legal_chain' AS invariant, count(*) AS violations
FROM step
WHERE NOT coalesce(CASE event
    WHEN 'enqueued' THEN before IS NULL
    WHEN 'claimed' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived')
    WHEN 'cancelled' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived', 'died')
    WHEN 'revived' THEN before = 'died'
    ELSE before = 'claimed'
END, false)
UNION ALL
SELECT 'job_state_is_what_its_last_event_says', count(*)
FROM job j
LEFT JOIN last_event l ON l.job_id = j.id
WHERE j.state IS DISTINCT FROM CASE l.event
    WHEN 'claimed' THEN 'leased'
    WHEN 'completed' THEN 'done'
    WHEN 'died' THEN 'dead'
    WHEN 'cancelled' THEN 'cancelled'
    WHEN 'enqueued' THEN 'ready'
    WHEN 'retried' THEN 'ready'
    WHEN 'released' THEN 'ready'
    WHEN 'lost' THEN 'ready'
    WHEN 'revived' THEN 'ready'
END
UNION ALL
SELECT 'leased_jobs_have_an_open_lease', count(*)
FROM job j
JOIN lease l ON l.id = j.lease_id
WHERE j.state = 'leased' AND l.revoked_at IS NOT NULL
UNION ALL
SELECT 'nothing_was_committed_under_a_revoked_lease', count(*)
FROM (SELECT lease_id, created_at FROM generation
      UNION ALL SELECT lease_id, created_at FROM score
      UNION ALL SELECT lease_id, created_at FROM router
      UNION ALL SELECT lease_id, created_at FROM routing_decision) result
JOIN lease l ON l.id = result.lease_id
WHERE l.revoked_at < result.created_at
UNION ALL
SELECT 'every_answer_was_completed_under_its_own_lease', count(*)
FROM generation g
WHERE NOT EXISTS (
    SELECT FROM job_event e
    WHERE e.job_id = g.job_id AND e.event = 'completed' AND e.lease_id = g.lease_id)
UNION ALL
SELECT 'done_generate_jobs_have_an_answer', count(*)
FROM job j
WHERE j.kind = 'generate' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM generation g
    WHERE g.prompt_id = j.prompt_id AND g.teacher_id = j.teacher_id AND g.sample_index = j.sample_index)
UNION ALL
SELECT 'done_score_jobs_have_a_score', count(*)
FROM job j
WHERE j.kind = 'score' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM score s WHERE s.generation_id = j.generation_id AND s.scorer_id = j.scorer_id)
UNION ALL
SELECT 'dead_jobs_say_why', count(*)
FROM job j
WHERE j.state = 'dead' AND NOT EXISTS (
    SELECT FROM job_event e WHERE e.job_id = j.id AND e.event = 'died' AND e.error_code IS NOT NULL)
UNION ALL
SELECT 'decisions_name_a_teacher_of_the_pool', count(*)
FROM routing_decision d
WHERE NOT EXISTS (SELECT FROM run_teacher rt WHERE rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id)
UNION ALL
SELECT 'a_router_decision_is_its_largest_coefficient', count(*)
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.basis = 'router'
  AND d.coefficients[rt.position + 1] IS DISTINCT FROM (SELECT max(c) FROM unnest(d.coefficients) AS c)
UNION ALL
SELECT 'routed_prompts_of_a_run_are_of_its_set', count(*)
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN prompt p ON p.id = d.prompt_id
WHERE p.prompt_set_id <> r.prompt_set_id
"""

INTEGRITY = """\
-- Does everything hold that must hold? One row per invariant; violations must be 0.
WITH step AS (
    SELECT e.job_id, e.event, e.id,
           lag(e.event) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
    FROM job_event e
),
last_event AS (
    SELECT DISTINCT ON (e.job_id) e.job_id, e.event
    FROM job_event e
    ORDER BY e.job_id, e.id DESC
)
SELECT 'job_events_form_a_legal_chain' AS invariant, count(*) AS violations
FROM step
WHERE NOT coalesce(CASE event
    WHEN 'enqueued' THEN before IS NULL
    WHEN 'claimed' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived')
    WHEN 'cancelled' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived', 'died')
    WHEN 'revived' THEN before = 'died'
    ELSE before = 'claimed'
END, false)
UNION ALL
SELECT 'job_state_is_what_its_last_event_says', count(*)
FROM job j
LEFT JOIN last_event l ON l.job_id = j.id
WHERE j.state IS DISTINCT FROM CASE l.event
    WHEN 'claimed' THEN 'leased'
    WHEN 'completed' THEN 'done'
    WHEN 'died' THEN 'dead'
    WHEN 'cancelled' THEN 'cancelled'
    WHEN 'enqueued' THEN 'ready'
    WHEN 'retried' THEN 'ready'
    WHEN 'released' THEN 'ready'
    WHEN 'lost' THEN 'ready'
    WHEN 'revived' THEN 'ready'
END
UNION ALL
SELECT 'leased_jobs_have_an_open_lease', count(*)
FROM job j
JOIN lease l ON l.id = j.lease_id
WHERE j.state = 'leased' AND l.revoked_at IS NOT NULL
UNION ALL
SELECT 'nothing_was_committed_under_a_revoked_lease', count(*)
FROM (SELECT lease_id, created_at FROM generation
      UNION ALL SELECT lease_id, created_at FROM score
      UNION ALL SELECT lease_id, created_at FROM router
      UNION ALL SELECT lease_id, created_at FROM routing_decision) result
JOIN lease l ON l.id = result.lease_id
WHERE l.revoked_at < result.created_at
UNION ALL
SELECT 'every_answer_was_completed_under_its_own_lease', count(*)
FROM generation g
WHERE NOT EXISTS (
    SELECT FROM job_event e
    WHERE e.job_id = g.job_id AND e.event = 'completed' AND e.lease_id = g.lease_id)
UNION ALL
SELECT 'done_generate_jobs_have_an_answer', count(*)
FROM job j
WHERE j.kind = 'generate' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM generation g
    WHERE g.prompt_id = j.prompt_id AND g.teacher_id = j.teacher_id AND g.sample_index = j.sample_index)
UNION ALL
SELECT 'done_score_jobs_have_a_score', count(*)
FROM job j
WHERE j.kind = 'score' AND j.state = 'done' AND NOT EXISTS (
    SELECT FROM score s WHERE s.generation_id = j.generation_id AND s.scorer_id = j.scorer_id)
UNION ALL
SELECT 'dead_jobs_say_why', count(*)
FROM job j
WHERE j.state = 'dead' AND NOT EXISTS (
    SELECT FROM job_event e WHERE e.job_id = j.id AND e.event = 'died' AND e.error_code IS NOT NULL)
UNION ALL
SELECT 'decisions_name_a_teacher_of_the_pool', count(*)
FROM routing_decision d
WHERE NOT EXISTS (SELECT FROM run_teacher rt WHERE rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id)
UNION ALL
SELECT 'a_router_decision_is_its_largest_coefficient', count(*)
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.basis = 'router'
  AND d.coefficients[rt.position + 1] IS DISTINCT FROM (SELECT max(c) FROM unnest(d.coefficients) AS c)
UNION ALL
SELECT 'routed_prompts_of_a_run_are_of_its_set', count(*)
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN prompt p ON p.id = d.prompt_id
WHERE p.prompt_set_id <> r.prompt_set_id
UNION ALL
SELECT 'jobs_name_rows_that_exist', count(*)
FROM job j
WHERE NOT EXISTS (SELECT FROM run r WHERE r.id = j.run_id)
   OR (j.prompt_id IS NOT NULL AND NOT EXISTS (SELECT FROM prompt p WHERE p.id = j.prompt_id))
   OR (j.teacher_id IS NOT NULL AND NOT EXISTS (SELECT FROM teacher t WHERE t.id = j.teacher_id))
   OR (j.generation_id IS NOT NULL AND NOT EXISTS (SELECT FROM generation g WHERE g.id = j.generation_id))
   OR (j.scorer_id IS NOT NULL AND NOT EXISTS (SELECT FROM scorer s WHERE s.id = j.scorer_id))
   OR (j.lease_id IS NOT NULL AND NOT EXISTS (SELECT FROM lease l WHERE l.id = j.lease_id))
UNION ALL
SELECT 'the_counts_of_jobs_are_right', count(*)
FROM (SELECT run_id, queue, priority, state, count(*) AS jobs FROM job GROUP BY run_id, queue, priority, state) real
FULL JOIN (SELECT run_id, queue, priority, state, sum(jobs) AS jobs FROM job_count
           GROUP BY run_id, queue, priority, state HAVING sum(jobs) <> 0) noted
USING (run_id, queue, priority, state)
WHERE real.jobs IS DISTINCT FROM noted.jobs
"""

_NOW = sa.text("clock_timestamp()")


def _moment(name: str, *, now: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=_NOW if now else None, nullable=not now)


def upgrade() -> None:
    op.create_table(
        "queue_pause",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        _moment("paused_at", now=True),
        _moment("until_at"),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_pause")),
    )
    op.add_column("run", _moment("paused_at"))
    op.add_column("run", sa.Column("pause_reason", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("paused_by", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("prompt_count", sa.BigInteger(), nullable=True))
    op.add_column("run", sa.Column("decided_count", sa.BigInteger(), nullable=True))
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        _moment("started_at", now=True),
        _moment("seen_at", now=True),
        _moment("stopped_at"),
        _moment("drain_requested_at"),
        _moment("drain_until"),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("tokens_per_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    _make_job_quick()
    _count_jobs()
    _replace_integrity(INTEGRITY)


# What each of them cost at enqueuing, and how it is guaranteed otherwise, stands in the models.
_JOB_REFERENCES = {
    "run_id": "run", "prompt_id": "prompt", "teacher_id": "teacher", "generation_id": "generation",
    "scorer_id": "scorer", "lease_id": "lease",
}  # fmt: skip


def _make_job_quick() -> None:
    for column, table in _JOB_REFERENCES.items():
        op.drop_constraint(f"fk_job_{column}_{table}", "job", type_="foreignkey")
    op.drop_index("ix_job_run_id_kind_state", table_name="job")
    op.drop_index("ix_job_ready", table_name="job")
    op.create_index(
        "ix_job_ready", "job", ["queue", "run_id", "priority", "not_before", "id"],
        postgresql_where=sa.text("state = 'ready' AND lost_count < 2"),
    )  # fmt: skip
    op.create_index("ix_job_suspect", "job", ["queue"], postgresql_where=sa.text("state = 'ready' AND lost_count >= 2"))
    op.create_index("ix_job_dead", "job", ["run_id", "id"], postgresql_where=sa.text("state = 'dead'"))
    _make_unique_generate("teacher_id", "prompt_id")
    op.drop_index("ix_job_event_job_id_id", table_name="job_event")
    op.drop_constraint("pk_job_event", "job_event", type_="primary")
    op.create_primary_key("pk_job_event", "job_event", ["job_id", "id"])


def _make_unique_generate(*middle: str) -> None:
    """In the order of enqueuing (teacher before prompt) the index grows at its end."""
    op.drop_index("uq_job_generate", table_name="job")
    op.create_index(
        "uq_job_generate", "job", ["run_id", *middle, "sample_index"], unique=True,
        postgresql_where=sa.text("kind = 'generate'"),
    )  # fmt: skip


def _count_jobs() -> None:
    op.create_table(
        "job_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_count")),
    )
    op.execute("""
        INSERT INTO job_count (run_id, queue, priority, state, jobs)
        SELECT run_id, queue, priority, state, count(*) FROM job GROUP BY run_id, queue, priority, state
    """)


def _replace_integrity(body: str) -> None:
    op.execute("DROP VIEW audit.integrity")
    op.execute(f"CREATE VIEW audit.integrity AS {body}")


def downgrade() -> None:
    _replace_integrity(INTEGRITY_BEFORE)
    op.drop_table("job_count")
    op.drop_constraint("pk_job_event", "job_event", type_="primary")
    op.create_primary_key("pk_job_event", "job_event", ["id"])
    op.create_index("ix_job_event_job_id_id", "job_event", ["job_id", "id"])
    _make_unique_generate("prompt_id", "teacher_id")
    op.drop_index("ix_job_dead", table_name="job")
    op.drop_index("ix_job_suspect", table_name="job")
    op.drop_index("ix_job_ready", table_name="job")
    op.create_index("ix_job_ready", "job", ["queue", "priority", "id"], postgresql_where=sa.text("state = 'ready'"))
    op.create_index("ix_job_run_id_kind_state", "job", ["run_id", "kind", "state"])
    for column, table in _JOB_REFERENCES.items():
        op.create_foreign_key(f"fk_job_{column}_{table}", "job", table, [column], ["id"], ondelete="RESTRICT")
    op.drop_table("worker")
    op.drop_column("run", "decided_count")
    op.drop_column("run", "prompt_count")
    op.drop_column("run", "paused_by")
    op.drop_column("run", "pause_reason")
    op.drop_column("run", "paused_at")
    op.drop_table("queue_pause")
