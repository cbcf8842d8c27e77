-- Does everything hold that must hold? One row per invariant; violations must be 0. What tells of events knows those
-- of the runs whose events are whole: `persyn db prune` removes old ones.
WITH told AS (
    SELECT e.job_id, e.event, e.id
    FROM audit.job_history e
    JOIN job j ON j.id = e.job_id
    WHERE j.run_id NOT IN (SELECT r.id FROM run r WHERE r.events_pruned_at IS NOT NULL)
),
step AS (
    SELECT job_id, event, id, lag(event) OVER (PARTITION BY job_id ORDER BY id) AS before FROM told
),
last_event AS (
    SELECT DISTINCT ON (job_id) job_id, event FROM told ORDER BY job_id, id DESC
)
SELECT 'job_events_form_a_legal_chain' AS invariant, count(*) AS violations
FROM step
WHERE NOT coalesce(CASE event
    WHEN 'enqueued' THEN before IS NULL
    WHEN 'claimed' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived')
    WHEN 'cancelled' THEN before IN ('enqueued', 'retried', 'released', 'lost', 'revived', 'died')
    WHEN 'revived' THEN before IN ('died', 'cancelled')
    ELSE before = 'claimed'
END, false)
UNION ALL
SELECT 'job_state_is_what_its_last_event_says', count(*)
FROM job j
LEFT JOIN last_event l ON l.job_id = j.id
WHERE j.run_id NOT IN (SELECT r.id FROM run r WHERE r.events_pruned_at IS NOT NULL)
  AND j.state IS DISTINCT FROM CASE l.event
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
      UNION ALL SELECT lease_id, created_at FROM routing_coefficients
      UNION ALL SELECT lease_id, created_at FROM student_model
      UNION ALL SELECT lease_id, created_at FROM routing_decision) result
JOIN lease l ON l.id = result.lease_id
WHERE l.revoked_at < result.created_at
UNION ALL
SELECT 'every_answer_was_completed_under_its_own_lease', count(*)
FROM generation g
JOIN job j ON j.id = g.job_id -- a deleted run's answer may stay without its job
JOIN run r ON r.id = j.run_id AND r.events_pruned_at IS NULL
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
SELECT 'a_decision_has_the_probability_that_its_run_explores_by', count(*)
FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
JOIN (SELECT r.id, CAST(r.config #>> '{policy_options,explore}' AS double precision) AS share,
             array_agg(t.id) FILTER (WHERE t.model IS NOT NULL) AS asked
      FROM run r
      JOIN run_teacher pool ON pool.run_id = r.id
      JOIN teacher t ON t.id = pool.teacher_id
      GROUP BY r.id) explored ON explored.id = d.run_id
WHERE d.probability IS NOT NULL AND NOT coalesce(abs(
    d.probability
    - CASE WHEN d.teacher_id = ANY(explored.asked) THEN explored.share / cardinality(explored.asked) ELSE 0 END
    - CASE WHEN rt.position + 1 = array_position(d.coefficients, (SELECT max(c) FROM unnest(d.coefficients) AS c))
           THEN 1 - explored.share ELSE 0 END) < 1e-9, false)
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
SELECT 'coefficients_wait_only_until_a_budget_is_spent', count(*)
FROM routing_coefficients k
JOIN run r ON r.id = k.run_id
WHERE r.policy <> 'budgeted' OR EXISTS (
    SELECT FROM routing_decision d WHERE d.run_id = k.run_id AND d.prompt_id = k.prompt_id AND d.basis = 'budget')
UNION ALL
SELECT 'a_calibration_sample_keeps_to_its_size', count(*)
FROM run r
WHERE (SELECT count(*) FROM calibration_prompt c WHERE c.run_id = r.id)
    > CAST(r.config #>> '{calibration,size}' AS bigint)
UNION ALL
SELECT 'no_calibration_prompt_came_after_the_routing', count(*)
FROM calibration_prompt c
JOIN prompt p ON p.id = c.prompt_id
WHERE EXISTS (
    SELECT FROM job j
    WHERE j.run_id = c.run_id AND j.kind = 'route' AND j.state = 'done' AND j.finished_at < p.created_at)
UNION ALL
SELECT 'a_routed_run_decided_on_every_prompt_that_was_there', count(*)
FROM run r
WHERE 'done' = ALL (SELECT j.state FROM job j WHERE j.run_id = r.id AND j.kind IN ('train_router', 'route'))
  AND EXISTS (
    SELECT FROM job j
    WHERE j.run_id = r.id AND j.kind = 'route' AND (r.policy <> 'budgeted' OR j.first_prompt_id IS NULL))
  AND EXISTS (
    SELECT FROM prompt p
    WHERE p.prompt_set_id = r.prompt_set_id AND p.created_at < r.created_at
      AND NOT EXISTS (
          SELECT FROM routing_decision d WHERE d.run_id = r.id AND d.policy = r.policy AND d.prompt_id = p.id)
      AND NOT (r.config ->> 'calibration_answers' = 'exclude' AND EXISTS (
          SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = p.id)))
UNION ALL
SELECT 'a_decision_names_the_router_that_its_run_goes_by', count(*)
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN router ON router.id = d.router_id
WHERE router.run_id <> coalesce(r.router_run_id, r.id)
UNION ALL
SELECT 'a_run_with_the_router_of_another_calibrates_nothing', count(*)
FROM run r
JOIN run owner ON owner.id = r.router_run_id
WHERE owner.router_run_id IS NOT NULL
   OR EXISTS (SELECT FROM calibration_prompt c WHERE c.run_id = r.id)
   OR EXISTS (SELECT FROM router WHERE router.run_id = r.id)
UNION ALL
SELECT 'a_decision_asks_for_each_further_answer', count(*)
FROM job j
WHERE j.kind = 'generate' AND j.sample_index > 0 AND NOT EXISTS (
    SELECT FROM routing_decision d
    WHERE d.run_id = j.run_id AND d.prompt_id = j.prompt_id AND d.teacher_id = j.teacher_id
      AND d.samples > j.sample_index)
UNION ALL
SELECT 'a_further_attempt_names_all_that_failed_before', count(*)
FROM routing_decision d
WHERE d.attempt > 1 AND d.failed_teacher_ids IS DISTINCT FROM (
    SELECT array_agg(before.teacher_id ORDER BY before.attempt)
    FROM routing_decision before
    WHERE before.run_id = d.run_id AND before.policy = d.policy AND before.prompt_id = d.prompt_id
      AND before.attempt < d.attempt)
UNION ALL
SELECT 'no_prompt_asks_a_teacher_again', count(*)
FROM routing_decision d
WHERE d.teacher_id = ANY(d.failed_teacher_ids)
UNION ALL
SELECT 'no_prompt_was_rerouted_from_an_answer_that_is_good_enough', count(*)
FROM routing_decision d
WHERE d.attempt > 1 AND EXISTS (
    SELECT FROM routing_decision before
    JOIN rerouting n ON n.run_id = before.run_id
    JOIN audit.answer a ON a.run_id = before.run_id AND a.prompt_id = before.prompt_id
                       AND a.teacher_id = before.teacher_id AND a.sample_index < before.samples
    WHERE before.run_id = d.run_id AND before.policy = d.policy AND before.prompt_id = d.prompt_id
      AND before.attempt < d.attempt AND a.quality >= n.bar AND a.created_at < d.created_at
      AND coalesce(a.flaws <@ ARRAY['cut'], true))
UNION ALL
SELECT 'a_consensus_is_the_share_of_votes_that_agree', count(*)
FROM score x
JOIN scorer s ON s.id = x.scorer_id AND s.method = 'consensus'
WHERE NOT coalesce(
    jsonb_array_length(x.detail -> 'agree') = CAST(x.detail ->> 'agreed' AS int)
    AND jsonb_array_length(x.detail -> 'agree') + jsonb_array_length(x.detail -> 'differ')
        = CAST(x.detail ->> 'voted' AS int)
    AND abs(x.value * CAST(x.detail ->> 'voted' AS int) - CAST(x.detail ->> 'agreed' AS int)) < 1e-6, false)
UNION ALL
SELECT 'no_teacher_votes_on_its_own_answer', count(*)
FROM score x
JOIN scorer s ON s.id = x.scorer_id AND s.method = 'consensus'
JOIN generation g ON g.id = x.generation_id
JOIN teacher t ON t.id = g.teacher_id
WHERE (x.detail -> 'agree') || (x.detail -> 'differ') || (x.detail -> 'unclear') ? t.name
UNION ALL
SELECT 'a_router_in_the_database_has_its_files', count(*)
FROM router r
WHERE r.artifact_place = 'database' AND NOT EXISTS (
    SELECT FROM artifact_chunk c WHERE c.sha256 = r.artifact_sha256 AND c.file = 'router.json')
UNION ALL
SELECT 'a_student_in_the_database_has_its_files', count(*)
FROM student_model m
WHERE m.artifact_place = 'database' AND NOT EXISTS (
    SELECT FROM artifact_chunk c WHERE c.sha256 = m.artifact_sha256 AND c.file = 'student.json')
UNION ALL
SELECT 'a_done_training_has_its_student', count(*)
FROM student_training t
JOIN job j ON j.id = t.job_id
WHERE j.kind <> 'train_student' OR (j.state = 'done' AND t.model_id IS NULL)
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
FROM (SELECT run_id, queue, stage, state, count(*) AS jobs FROM job GROUP BY run_id, queue, stage, state) real
FULL JOIN (SELECT run_id, queue, stage, state, sum(jobs) AS jobs FROM job_count
           GROUP BY run_id, queue, stage, state HAVING sum(jobs) <> 0) noted
USING (run_id, queue, stage, state)
WHERE real.jobs IS DISTINCT FROM noted.jobs
