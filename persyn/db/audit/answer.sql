-- What did a run's teachers answer, how good is each answer, and what keeps it out of a training set?
-- quality, learnability: raw; of several scorers the weighted mean. checked: whether a quality was measured at all.
-- flaws: the judgement of the table `generation`, and `wrong` where math_verify measured 0; empty for a sound answer.
SELECT r.id AS run_id,
       r.name AS run,
       g.prompt_id,
       p.external_id,
       t.id AS teacher_id,
       t.name AS teacher,
       t.revision AS teacher_revision,
       g.id AS generation_id,
       g.text,
       g.reasoning,
       g.tool_calls,
       g.finish_reason,
       g.prompt_tokens,
       g.completion_tokens,
       measured.quality,
       measured.learnability,
       measured.checked,
       array_remove(ARRAY[g.flaw, CASE WHEN measured.wrong THEN 'wrong' END], NULL) AS flaws,
       g.created_at
FROM run r
JOIN run_teacher rt ON rt.run_id = r.id
JOIN teacher t ON t.id = rt.teacher_id
JOIN generation g ON g.teacher_id = t.id AND g.sample_index = 0
JOIN prompt p ON p.id = g.prompt_id AND p.prompt_set_id = r.prompt_set_id
CROSS JOIN LATERAL (
    SELECT sum(x.value * rs.weight) FILTER (WHERE s.kind = 'quality')
               / nullif(sum(rs.weight) FILTER (WHERE s.kind = 'quality'), 0) AS quality,
           sum(x.value * rs.weight) FILTER (WHERE s.kind = 'learnability')
               / nullif(sum(rs.weight) FILTER (WHERE s.kind = 'learnability'), 0) AS learnability,
           count(*) FILTER (WHERE s.kind = 'quality') > 0 AS checked,
           coalesce(bool_or(s.method = 'math_verify' AND x.value = 0), false) AS wrong
    FROM run_scorer rs
    JOIN scorer s ON s.id = rs.scorer_id
    JOIN score x ON x.scorer_id = s.id AND x.generation_id = g.id
    WHERE rs.run_id = r.id) measured
