-- Who gives a second opinion on a routed prompt? The teacher that the scorer `consensus` names first, or the second where
-- the prompt was routed to that one; nobody on calibration prompts, which every teacher answers.
SELECT d.run_id,
       r.name AS run,
       d.prompt_id,
       t.id AS teacher_id,
       t.name AS teacher
FROM routing_decision d
JOIN run r ON r.id = d.run_id AND r.policy = d.policy
JOIN teacher routed ON routed.id = d.teacher_id
JOIN run_scorer rs ON rs.run_id = r.id
JOIN scorer s ON s.id = rs.scorer_id AND s.method = 'consensus'
JOIN run_teacher rt ON rt.run_id = r.id
JOIN teacher t ON t.id = rt.teacher_id AND t.name = CASE s.config #>> '{opinion,0}'
    WHEN routed.name THEN s.config #>> '{opinion,1}' ELSE s.config #>> '{opinion,0}' END
WHERE d.attempt = 1 AND NOT EXISTS (
    SELECT FROM calibration_prompt c WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = d.prompt_id)
