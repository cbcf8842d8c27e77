-- What did a run's teachers answer, how good is each answer, and what keeps it out of a training set?
-- quality, learnability: raw; of several scorers the weighted mean. checked: whether a quality was measured at all.
-- flaws: the judgement of the table `generation`, with `cut` before it where the token limit ended what is no answer
-- yet, `wrong` where math_verify measured 0, and else `below_bar` where the run reroutes answers of such a quality;
-- empty for a sound answer.
-- scores: the raw values by the scorers' ids; losses: the answer's mean loss by the ids of the measures (lark) whose
-- value for an answer depends on the other answers to its prompt, and is worked out of both. sample_index: from 0,
-- where a teacher was asked for several answers.
SELECT r.id AS run_id,
       r.name AS run,
       g.prompt_id,
       g.external_id,
       t.id AS teacher_id,
       t.name AS teacher,
       t.revision AS teacher_revision,
       g.generation_id,
       g.text,
       g.reasoning,
       g.tool_calls,
       g.finish_reason,
       g.prompt_tokens,
       g.completion_tokens,
       measured.quality,
       measured.learnability,
       measured.checked,
       array_remove(ARRAY[
           CASE WHEN g.flaw IN ('empty', 'unfinished_thought')
                 AND lower(g.finish_reason) IN ('length', 'max_tokens', 'model_length') THEN 'cut' END,
           g.flaw,
           CASE WHEN measured.wrong THEN 'wrong' WHEN measured.quality < n.bar THEN 'below_bar' END], NULL) AS flaws,
       g.created_at,
       measured.scores,
       measured.losses,
       g.sample_index
FROM audit.run_answer g
JOIN run r ON r.id = g.run_id
JOIN teacher t ON t.id = g.teacher_id
LEFT JOIN rerouting n ON n.run_id = r.id
CROSS JOIN LATERAL (
    SELECT sum(x.value * rs.weight) FILTER (WHERE s.kind = 'quality')
               / nullif(sum(rs.weight) FILTER (WHERE s.kind = 'quality'), 0) AS quality,
           sum(x.value * rs.weight) FILTER (WHERE s.kind = 'learnability')
               / nullif(sum(rs.weight) FILTER (WHERE s.kind = 'learnability'), 0) AS learnability,
           count(*) FILTER (WHERE s.kind = 'quality') > 0 AS checked,
           coalesce(bool_or(s.method = 'math_verify' AND x.value = 0), false) AS wrong,
           jsonb_object_agg(s.id, x.value) FILTER (WHERE s.id IS NOT NULL) AS scores,
           jsonb_object_agg(s.id, x.detail -> 'loss') FILTER (WHERE s.method = 'lark') AS losses
    FROM run_scorer rs
    JOIN scorer s ON s.id = rs.scorer_id
    JOIN score x ON x.scorer_id = s.id AND x.generation_id = g.generation_id
    WHERE rs.run_id = r.id) measured
