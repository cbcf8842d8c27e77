"""The tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# It stands for the six that were before the first release, and bears the last one's number: a database that those made
# goes on from here.
revision = "0006"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=True),
        sa.Column("teacher_id", sa.BigInteger(), nullable=True),
        sa.Column("sample_index", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("generation_id", sa.BigInteger(), nullable=True),
        sa.Column("scorer_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'ready'"), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lost_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "not_before", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(kind = 'generate') = (prompt_id IS NOT NULL AND teacher_id IS NOT NULL)",
            name=op.f("ck_job_generate_references"),
        ),
        sa.CheckConstraint(
            "(kind = 'score') = (generation_id IS NOT NULL AND scorer_id IS NOT NULL)",
            name=op.f("ck_job_score_references"),
        ),
        sa.CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name=op.f("ck_job_leased_has_lease")),
        sa.CheckConstraint(
            "(state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)", name=op.f("ck_job_finished_at")
        ),
        sa.CheckConstraint("kind IN ('generate', 'score', 'train_router', 'route')", name=op.f("ck_job_kind")),
        sa.CheckConstraint("state <> 'dead' OR error_code IS NOT NULL", name=op.f("ck_job_dead_says_why")),
        sa.CheckConstraint("state IN ('ready', 'leased', 'done', 'dead', 'cancelled')", name=op.f("ck_job_state")),
        sa.CheckConstraint("attempt >= 0 AND lost_count >= 0", name=op.f("ck_job_counts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index("ix_job_dead", "job", ["run_id", "id"], unique=False, postgresql_where=sa.text("state = 'dead'"))
    op.create_index(
        "ix_job_lease_id", "job", ["lease_id"], unique=False, postgresql_where=sa.text("lease_id IS NOT NULL")
    )
    op.create_index(
        "ix_job_ready",
        "job",
        ["queue", "run_id", "priority", "not_before", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'ready' AND lost_count < 2"),
    )
    op.create_index(
        "ix_job_suspect",
        "job",
        ["queue"],
        unique=False,
        postgresql_where=sa.text("state = 'ready' AND lost_count >= 2"),
    )
    op.create_index(
        "uq_job_generate",
        "job",
        ["run_id", "teacher_id", "prompt_id", "sample_index"],
        unique=True,
        postgresql_where=sa.text("kind = 'generate'"),
    )
    op.create_index(
        "uq_job_score",
        "job",
        ["run_id", "scorer_id", "generation_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'score'"),
    )
    op.create_index(
        "uq_job_stage",
        "job",
        ["run_id", "kind"],
        unique=True,
        postgresql_where=sa.text("kind IN ('train_router', 'route')"),
    )
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
    op.create_table(
        "job_event",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "event IN ('enqueued', 'claimed', 'completed', 'retried', 'released', 'lost', 'died', 'cancelled',"
            " 'revived')",
            name=op.f("ck_job_event_event"),
        ),
        sa.PrimaryKeyConstraint("job_id", "id", name=op.f("pk_job_event")),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "renewed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(revoked_at IS NULL) = (reason IS NULL)", name=op.f("ck_lease_revoked_says_why")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    op.create_index(
        "ix_lease_open", "lease", ["expires_at"], unique=False, postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.create_table(
        "prompt_set",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_set")),
        sa.UniqueConstraint("name", name=op.f("uq_prompt_set_name")),
    )
    op.create_table(
        "queue_pause",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_pause")),
    )
    op.create_table(
        "student",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_student")),
        sa.UniqueConstraint("name", "config_sha256", name=op.f("uq_student_name_config_sha256")),
    )
    op.create_table(
        "teacher",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("params_b", sa.Float(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("system_prompt", sa.Text(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher")),
        sa.UniqueConstraint("name", "config_sha256", name=op.f("uq_teacher_name_config_sha256")),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drain_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drain_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("tokens_per_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("prompt_set_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("messages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reference_answer", sa.Text(), nullable=True),
        sa.Column(
            "meta", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["prompt_set_id"], ["prompt_set.id"], name=op.f("fk_prompt_prompt_set_id_prompt_set"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("prompt_set_id", "sha256", name=op.f("uq_prompt_prompt_set_id_sha256")),
    )
    op.create_index("ix_prompt_prompt_set_id_external_id", "prompt", ["prompt_set_id", "external_id"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prompt_set_id", sa.BigInteger(), nullable=False),
        sa.Column("student_id", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("alpha", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("library_versions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("target_stage", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("prompt_count", sa.BigInteger(), nullable=True),
        sa.Column("decided_count", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "policy IN ('persyn', 'strong', 'family_strong', 'mix', 'car', 'random', 'oracle', 'budgeted')",
            name=op.f("ck_run_policy"),
        ),
        sa.CheckConstraint("alpha BETWEEN 0 AND 1", name=op.f("ck_run_alpha")),
        sa.ForeignKeyConstraint(
            ["prompt_set_id"], ["prompt_set.id"], name=op.f("fk_run_prompt_set_id_prompt_set"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_run_student_id_student"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("name", name=op.f("uq_run_name")),
    )
    op.create_table(
        "scorer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("student_id", sa.BigInteger(), nullable=True),
        sa.Column("config_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(kind = 'learnability') = (student_id IS NOT NULL)", name=op.f("ck_scorer_learnability_names_student")
        ),
        sa.CheckConstraint("kind IN ('quality', 'learnability')", name=op.f("ck_scorer_kind")),
        sa.ForeignKeyConstraint(
            ["student_id"], ["student.id"], name=op.f("fk_scorer_student_id_student"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scorer")),
        sa.UniqueConstraint("kind", "config_sha256", name=op.f("uq_scorer_kind_config_sha256")),
    )
    op.create_table(
        "calibration_prompt",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.CheckConstraint("split IN ('train', 'validation')", name=op.f("ck_calibration_prompt_split")),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_calibration_prompt_prompt_id_prompt"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_calibration_prompt_run_id_run"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", name=op.f("pk_calibration_prompt")),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_export_run_id_run"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
    )
    op.create_table(
        "generation_import",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.CHAR(length=64), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_generation_import_run_id_run"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation_import")),
    )
    op.create_table(
        "router",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("teacher_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("alpha", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("normalisation", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("artifact_path", sa.Text(), nullable=False),
        sa.Column("artifact_sha256", sa.CHAR(length=64), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_router_job_id_job"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.id"], name=op.f("fk_router_lease_id_lease"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_router_run_id_run"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_router")),
        sa.UniqueConstraint("run_id", name=op.f("uq_router_run_id")),
    )
    op.create_table(
        "run_scorer",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.DOUBLE_PRECISION(), nullable=False),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_run_scorer_weight")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_scorer_run_id_run"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["scorer_id"], ["scorer.id"], name=op.f("fk_run_scorer_scorer_id_scorer"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("run_id", "scorer_id", name=op.f("pk_run_scorer")),
    )
    op.create_table(
        "run_teacher",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("teacher_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_teacher_run_id_run"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["teacher_id"], ["teacher.id"], name=op.f("fk_run_teacher_teacher_id_teacher"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("run_id", "teacher_id", name=op.f("pk_run_teacher")),
        sa.UniqueConstraint("run_id", "position", name=op.f("uq_run_teacher_run_id_position")),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("teacher_id", sa.BigInteger(), nullable=False),
        sa.Column("sample_index", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reasoning", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("latency_s", sa.Float(), nullable=True),
        sa.Column("server_version", sa.Text(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.Text(), server_default="generated", nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "CASE origin"
            " WHEN 'generated' THEN import_id IS NULL AND job_id IS NOT NULL AND lease_id IS NOT NULL"
            " WHEN 'imported' THEN import_id IS NOT NULL AND job_id IS NULL AND lease_id IS NULL"
            " ELSE false END",
            name=op.f("ck_generation_origin"),
        ),
        sa.CheckConstraint(
            "origin <> 'generated' OR num_nulls(prompt_tokens, completion_tokens, seed, latency_s) = 0",
            name=op.f("ck_generation_generated_is_measured"),
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["generation_import.id"],
            name=op.f("fk_generation_import_id_generation_import"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_generation_job_id_job"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["lease_id"], ["lease.id"], name=op.f("fk_generation_lease_id_lease"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_generation_prompt_id_prompt"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["teacher_id"], ["teacher.id"], name=op.f("fk_generation_teacher_id_teacher"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
        sa.UniqueConstraint(
            "prompt_id", "teacher_id", "sample_index", name=op.f("uq_generation_prompt_id_teacher_id_sample_index")
        ),
    )
    op.create_table(
        "routing_decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("teacher_id", sa.BigInteger(), nullable=False),
        sa.Column("router_id", sa.BigInteger(), nullable=True),
        sa.Column("coefficients", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=True),
        sa.Column("neighbour_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("margin", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("lease_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(basis IN ('router', 'budget')) = (router_id IS NOT NULL)", name=op.f("ck_routing_decision_router_named")
        ),
        sa.CheckConstraint(
            "basis IN ('router', 'budget', 'static', 'random', 'measured')", name=op.f("ck_routing_decision_basis")
        ),
        sa.ForeignKeyConstraint(
            ["lease_id"], ["lease.id"], name=op.f("fk_routing_decision_lease_id_lease"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_routing_decision_prompt_id_prompt"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["router_id"], ["router.id"], name=op.f("fk_routing_decision_router_id_router"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_routing_decision_run_id_run"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["teacher_id"], ["teacher.id"], name=op.f("fk_routing_decision_teacher_id_teacher"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routing_decision")),
        sa.UniqueConstraint("run_id", "policy", "prompt_id", name=op.f("uq_routing_decision_run_id_policy_prompt_id")),
    )
    op.create_table(
        "score",
        sa.Column("generation_id", sa.BigInteger(), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("value <> 'NaN'::float8", name=op.f("ck_score_value_is_a_number")),
        sa.CheckConstraint(
            "(import_id IS NULL) = (job_id IS NOT NULL) AND (job_id IS NULL) = (lease_id IS NULL)",
            name=op.f("ck_score_origin"),
        ),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generation.id"], name=op.f("fk_score_generation_id_generation"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["generation_import.id"],
            name=op.f("fk_score_import_id_generation_import"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_score_job_id_job"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.id"], name=op.f("fk_score_lease_id_lease"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["scorer_id"], ["scorer.id"], name=op.f("fk_score_scorer_id_scorer"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("generation_id", "scorer_id", name=op.f("pk_score")),
    )


def downgrade() -> None:
    op.drop_table("score")
    op.drop_table("routing_decision")
    op.drop_table("generation")
    op.drop_table("run_teacher")
    op.drop_table("run_scorer")
    op.drop_table("router")
    op.drop_table("generation_import")
    op.drop_table("export")
    op.drop_table("calibration_prompt")
    op.drop_table("scorer")
    op.drop_table("run")
    op.drop_table("prompt")
    op.drop_table("worker")
    op.drop_table("teacher")
    op.drop_table("student")
    op.drop_table("queue_pause")
    op.drop_table("prompt_set")
    op.drop_table("lease")
    op.drop_table("job_event")
    op.drop_table("job_count")
    op.drop_table("job")
