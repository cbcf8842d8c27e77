"""The method in full: several scorers a run, imported answers, every policy, and why a prompt was routed as it was."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# They read what changes here. 0005 makes them anew; these are what 0002 made.
VIEWS_BEFORE = {
    "cost": """\
-- What did a run's answers cost, teacher by teacher, and how many were another run's work?
SELECT r.id AS run_id,
       r.name AS run,
       t.name AS teacher,
       count(*) FILTER (WHERE j.run_id = r.id) AS generated,
       count(*) FILTER (WHERE j.run_id <> r.id) AS reused,
       coalesce(sum(g.prompt_tokens) FILTER (WHERE j.run_id = r.id), 0) AS prompt_tokens,
       coalesce(sum(g.completion_tokens) FILTER (WHERE j.run_id = r.id), 0) AS completion_tokens,
       coalesce(sum(g.latency_s) FILTER (WHERE j.run_id = r.id), 0) AS request_seconds
FROM run r
JOIN run_teacher rt ON rt.run_id = r.id
JOIN teacher t ON t.id = rt.teacher_id
JOIN generation g ON g.teacher_id = t.id
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
JOIN job j ON j.id = g.job_id
WHERE j.run_id = r.id
   OR EXISTS (SELECT FROM calibration_prompt c WHERE c.run_id = r.id AND c.prompt_id = p.id)
   OR EXISTS (SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.prompt_id = p.id AND d.teacher_id = t.id)
GROUP BY r.id, r.name, t.name
ORDER BY r.id, t.name
""",
    "integrity": """\
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
""",
    "prompt_trail": """\
-- What happened to a prompt, step by step, and why is its row as it is?
WITH run_prompt AS (
    SELECT r.id AS run_id, p.id AS prompt_id, p.created_at, p.external_id, s.name AS prompt_set
    FROM run r
    JOIN prompt p ON p.prompt_set_id = r.prompt_set_id
    JOIN prompt_set s ON s.id = p.prompt_set_id
),
run_job AS (
    SELECT j.id, j.run_id, j.kind, j.queue, coalesce(j.prompt_id, g.prompt_id) AS prompt_id,
           coalesce(j.teacher_id, g.teacher_id) AS teacher_id, sc.kind AS scorer_kind
    FROM job j
    LEFT JOIN generation g ON g.id = j.generation_id
    LEFT JOIN scorer sc ON sc.id = j.scorer_id
    WHERE j.kind IN ('generate', 'score')
)
SELECT rp.run_id, rp.prompt_id, rp.created_at AS at, 1 AS step, 'imported' AS what, NULL::text AS teacher,
       jsonb_build_object('set', rp.prompt_set, 'external_id', rp.external_id) AS detail
FROM run_prompt rp
UNION ALL
SELECT c.run_id, c.prompt_id, r.created_at, 2, 'calibration', NULL, jsonb_build_object('split', c.split)
FROM calibration_prompt c
JOIN run r ON r.id = c.run_id
UNION ALL
SELECT d.run_id, d.prompt_id, d.created_at, 5, 'routed', t.name,
       jsonb_build_object(
           'policy', d.policy, 'basis', d.basis, 'router_id', d.router_id, 'margin', d.margin,
           'coefficients', (SELECT jsonb_object_agg(rt_t.name, d.coefficients[rt.position + 1])
                            FROM run_teacher rt JOIN teacher rt_t ON rt_t.id = rt.teacher_id
                            WHERE rt.run_id = d.run_id AND d.coefficients IS NOT NULL))
FROM routing_decision d
JOIN teacher t ON t.id = d.teacher_id
UNION ALL
SELECT j.run_id, j.prompt_id, e.at, 3, 'job ' || e.event, t.name,
       jsonb_strip_nulls(jsonb_build_object(
           'job_id', e.job_id, 'kind', j.kind, 'scorer', j.scorer_kind, 'attempt', e.attempt, 'lease_id', e.lease_id,
           'worker', l.worker, 'host', l.host, 'error_code', e.error_code, 'error', e.detail))
FROM run_job j
JOIN job_event e ON e.job_id = j.id
LEFT JOIN lease l ON l.id = e.lease_id
LEFT JOIN teacher t ON t.id = j.teacher_id
UNION ALL
SELECT rp.run_id, g.prompt_id, g.created_at, 4, 'answered', t.name,
       jsonb_build_object(
           'generation_id', g.id, 'text', left(g.text, 2000), 'finish_reason', g.finish_reason,
           'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seed', g.seed,
           'latency_s', g.latency_s, 'server_version', g.server_version, 'job_id', g.job_id, 'lease_id', g.lease_id,
           'reused', gj.run_id <> rp.run_id)
FROM run_prompt rp
JOIN generation g ON g.prompt_id = rp.prompt_id
JOIN run_teacher rt ON rt.run_id = rp.run_id AND rt.teacher_id = g.teacher_id
JOIN teacher t ON t.id = g.teacher_id
JOIN job gj ON gj.id = g.job_id
UNION ALL
SELECT r.id, g.prompt_id, s.created_at, 4, 'scored ' || sc.kind, t.name,
       jsonb_build_object('generation_id', g.id, 'scorer', sc.method, 'value', s.value, 'detail', s.detail)
FROM score s
JOIN generation g ON g.id = s.generation_id
JOIN scorer sc ON sc.id = s.scorer_id
JOIN run r ON sc.id IN (r.quality_scorer_id, r.learnability_scorer_id)
JOIN run_teacher rt ON rt.run_id = r.id AND rt.teacher_id = g.teacher_id
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
JOIN teacher t ON t.id = g.teacher_id
UNION ALL
SELECT x.run_id, d.prompt_id, x.created_at, 6, 'exported', t.name,
       jsonb_build_object('format', x.format, 'path', x.path, 'sha256', x.sha256)
FROM export x
JOIN run r ON r.id = x.run_id
JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy
JOIN teacher t ON t.id = d.teacher_id
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0
                 AND g.created_at <= x.created_at
""",
}


def upgrade() -> None:
    for name in VIEWS_BEFORE:
        op.execute(f"DROP VIEW audit.{name}")
    _add_scorers()
    _add_imports()
    _check("run", "policy", _one_of("policy", "persyn", "strong", "family_strong", "mix", "car", "random", "oracle",
                                    "budgeted"))  # fmt: skip
    _check("routing_decision", "basis", _one_of("basis", "router", "budget", "static", "random", "measured"))
    _check("routing_decision", "router_named", "(basis IN ('router', 'budget')) = (router_id IS NOT NULL)")
    op.add_column("routing_decision", sa.Column("neighbour_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True))
    for column in ("model", "params_b"):
        op.alter_column("teacher", column, nullable=True)


def downgrade() -> None:
    """Fails where rows exist that the earlier schema cannot hold: imported answers, or a run of a newer policy."""
    for column in ("model", "params_b"):
        op.alter_column("teacher", column, nullable=False)
    op.drop_column("routing_decision", "neighbour_ids")
    _check("routing_decision", "router_named", "(basis = 'router') = (router_id IS NOT NULL)")
    _check("routing_decision", "basis", _one_of("basis", "router", "static", "random", "measured"))
    _check("run", "policy", _one_of("policy", "persyn", "strong", "random"))
    _remove_imports()
    _remove_scorers()
    for name, body in VIEWS_BEFORE.items():
        op.execute(f"CREATE VIEW audit.{name} AS {body}")


def _add_scorers() -> None:
    op.create_table(
        "run_scorer",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("weight", postgresql.DOUBLE_PRECISION(), nullable=False),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_run_scorer_weight")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_scorer_run_id_run"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["scorer_id"], ["scorer.id"], name=op.f("fk_run_scorer_scorer_id_scorer"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("run_id", "scorer_id", name=op.f("pk_run_scorer")),
    )
    for kind in ("quality", "learnability"):
        op.execute(f"INSERT INTO run_scorer (run_id, scorer_id, weight) SELECT id, {kind}_scorer_id, 1 FROM run")
        op.drop_column("run", f"{kind}_scorer_id")


def _remove_scorers() -> None:
    """A run of several scorers of one kind keeps the one of the largest weight."""
    for kind in ("quality", "learnability"):
        op.add_column("run", sa.Column(f"{kind}_scorer_id", sa.BigInteger(), nullable=True))
        op.execute(f"""
        UPDATE run SET {kind}_scorer_id = (
            SELECT s.id FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id
            WHERE rs.run_id = run.id AND s.kind = '{kind}' ORDER BY rs.weight DESC, s.id LIMIT 1)
        """)
        op.alter_column("run", f"{kind}_scorer_id", nullable=False)
        op.create_foreign_key(
            f"fk_run_{kind}_scorer_id_scorer", "run", "scorer", [f"{kind}_scorer_id"], ["id"], ondelete="RESTRICT"
        )
    op.drop_table("run_scorer")


def _add_imports() -> None:
    op.create_table(
        "generation_import",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.CHAR(64), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_generation_import_run_id_run"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation_import")),
    )
    for table in ("generation", "score"):
        op.add_column(table, sa.Column("import_id", sa.BigInteger(), nullable=True))
        op.create_foreign_key(
            f"fk_{table}_import_id_generation_import", table, "generation_import", ["import_id"], ["id"],
            ondelete="RESTRICT",
        )  # fmt: skip
        op.alter_column(table, "job_id", nullable=True)
        op.alter_column(table, "lease_id", nullable=True)
    for column in _MEASURED:
        op.alter_column("generation", column, nullable=True)
    op.add_column("generation", sa.Column("origin", sa.Text(), server_default=sa.text("'generated'"), nullable=False))
    op.create_check_constraint(op.f("ck_generation_origin"), "generation", """CASE origin
            WHEN 'generated' THEN import_id IS NULL AND job_id IS NOT NULL AND lease_id IS NOT NULL
            WHEN 'imported' THEN import_id IS NOT NULL AND job_id IS NULL AND lease_id IS NULL
            ELSE false END""")  # fmt: skip
    op.create_check_constraint(
        op.f("ck_generation_generated_is_measured"), "generation",
        "origin <> 'generated' OR num_nulls(prompt_tokens, completion_tokens, seed, latency_s) = 0",
    )  # fmt: skip
    op.create_check_constraint(
        op.f("ck_score_origin"), "score",
        "(import_id IS NULL) = (job_id IS NOT NULL) AND (job_id IS NULL) = (lease_id IS NULL)",
    )  # fmt: skip


def _remove_imports() -> None:
    op.drop_constraint("ck_score_origin", "score")
    op.drop_constraint("ck_generation_origin", "generation")
    op.drop_constraint("ck_generation_generated_is_measured", "generation")
    op.drop_column("generation", "origin")
    for column in _MEASURED:
        op.alter_column("generation", column, nullable=False)
    for table in ("generation", "score"):
        op.alter_column(table, "job_id", nullable=False)
        op.alter_column(table, "lease_id", nullable=False)
        op.drop_column(table, "import_id")
    op.drop_table("generation_import")


_MEASURED = ("prompt_tokens", "completion_tokens", "seed", "latency_s")


def _one_of(column: str, *values: str) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(f"ck_{table}_{name}", table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
