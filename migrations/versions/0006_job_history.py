"""When a job was enqueued its row says already: `audit.job_history` tells it, and the views that need it read that.

What a worker of an earlier version still writes of it, or wrote, stays and is passed over.
"""

from importlib import import_module

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# In the order in which they stand on each other.
VIEWS = {
    "job_history": """\
-- What happened to a job, event by event, from when it was enqueued?
SELECT j.id AS job_id, 0::bigint AS id, 'enqueued' AS event, j.created_at AS at, NULL::bigint AS lease_id,
       0 AS attempt, NULL::text AS error_code, NULL::text AS detail
FROM job j
UNION ALL
SELECT e.job_id, e.id, e.event, e.at, e.lease_id, e.attempt, e.error_code, e.detail
FROM job_event e
WHERE e.event <> 'enqueued'
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
SELECT d.run_id, d.prompt_id, d.created_at, 5, 'routed', d.teacher,
       jsonb_build_object(
           'policy', d.policy, 'basis', d.basis, 'router_id', d.router_id, 'margin', d.margin,
           'runner_up', d.runner_up, 'runner_up_coefficient', d.runner_up_coefficient,
           'neighbours', to_jsonb(d.neighbours),
           CASE d.basis WHEN 'measured' THEN 'rewards' ELSE 'coefficients' END, d.coefficients)
FROM audit.decision d
UNION ALL
SELECT j.run_id, j.prompt_id, e.at, 3, 'job ' || e.event, t.name,
       jsonb_strip_nulls(jsonb_build_object(
           'job_id', e.job_id, 'kind', j.kind, 'scorer', j.scorer_kind, 'attempt', e.attempt, 'lease_id', e.lease_id,
           'worker', l.worker, 'host', l.host, 'error_code', e.error_code, 'error', e.detail))
FROM run_job j
JOIN audit.job_history e ON e.job_id = j.id
LEFT JOIN lease l ON l.id = e.lease_id
LEFT JOIN teacher t ON t.id = j.teacher_id
UNION ALL
SELECT rp.run_id, g.prompt_id, g.created_at, 4, 'answered', t.name,
       jsonb_build_object(
           'generation_id', g.id, 'origin', g.origin, 'import', i.path, 'text', left(g.text, 2000),
           'finish_reason', g.finish_reason,
           'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seed', g.seed,
           'latency_s', g.latency_s, 'server_version', g.server_version, 'job_id', g.job_id, 'lease_id', g.lease_id,
           'reused', coalesce(gj.run_id <> rp.run_id, true))
FROM run_prompt rp
JOIN generation g ON g.prompt_id = rp.prompt_id
JOIN run_teacher rt ON rt.run_id = rp.run_id AND rt.teacher_id = g.teacher_id
JOIN teacher t ON t.id = g.teacher_id
LEFT JOIN job gj ON gj.id = g.job_id
LEFT JOIN generation_import i ON i.id = g.import_id
UNION ALL
SELECT r.id, g.prompt_id, s.created_at, 4, 'scored ' || sc.kind, t.name,
       jsonb_build_object('generation_id', g.id, 'scorer', sc.method, 'weight', rs.weight, 'value', s.value,
                          'detail', s.detail)
FROM score s
JOIN generation g ON g.id = s.generation_id
JOIN scorer sc ON sc.id = s.scorer_id
JOIN run_scorer rs ON rs.scorer_id = sc.id
JOIN run r ON r.id = rs.run_id
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
    "integrity": """\
-- Does everything hold that must hold? One row per invariant; violations must be 0.
WITH step AS (
    SELECT e.job_id, e.event, e.id,
           lag(e.event) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
    FROM audit.job_history e
),
last_event AS (
    SELECT DISTINCT ON (e.job_id) e.job_id, e.event
    FROM audit.job_history e
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
WHERE g.origin = 'generated' AND NOT EXISTS (
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
SELECT 'a_measured_decision_is_its_best_reward', count(*)
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.basis = 'measured' AND d.coefficients IS NOT NULL
  AND d.coefficients[rt.position + 1] IS DISTINCT FROM (SELECT max(c) FROM unnest(d.coefficients) AS c)
UNION ALL
SELECT 'an_oracle_decides_by_what_was_measured', count(*)
FROM routing_decision d
WHERE d.policy = 'oracle' AND d.basis <> 'measured'
UNION ALL
SELECT 'a_budget_left_no_better_teacher_unlimited', count(*)
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
WHERE d.basis = 'budget' AND EXISTS (
    SELECT FROM run_teacher other
    JOIN teacher t ON t.id = other.teacher_id
    WHERE other.run_id = d.run_id AND NOT coalesce(r.config -> 'policy_options' -> 'budget' ? t.name, false)
      AND d.coefficients[other.position + 1] > d.coefficients[rt.position + 1])
UNION ALL
SELECT 'no_teacher_exceeds_its_share_of_a_budget', count(*)
FROM (
    SELECT d.run_id, d.teacher_id, count(*) AS prompts, sum(count(*)) OVER (PARTITION BY d.run_id) AS routed
    FROM routing_decision d
    WHERE d.basis = 'budget'
    GROUP BY d.run_id, d.teacher_id) taken
JOIN run r ON r.id = taken.run_id
JOIN teacher t ON t.id = taken.teacher_id
WHERE taken.prompts > ceil(
    (r.config -> 'policy_options' -> 'budget' -> t.name ->> 'share')::double precision * taken.routed::double precision
    - 1e-6)
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
""",
}


def upgrade() -> None:
    for name, body in VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW audit.{name} AS {body}")


def downgrade() -> None:
    before = import_module("persyn.migrations.versions.0005_audit_views").VIEWS
    op.execute(
        "INSERT INTO job_event (job_id, id, event, at, attempt) OVERRIDING SYSTEM VALUE"
        " SELECT id, 0, 'enqueued', created_at, 0 FROM job j"
        " WHERE NOT EXISTS (SELECT FROM job_event e WHERE e.job_id = j.id AND e.event = 'enqueued')"
    )
    for name in ("integrity", "prompt_trail"):
        op.execute(f"CREATE OR REPLACE VIEW audit.{name} AS {before[name]}")
    op.execute("DROP VIEW audit.job_history")
