-- What else is known of one job: teacher, scorer, lease, when it was enqueued, and which of several answers it is about.
-- Called by operators.show.
-- Index: pk_job.
SELECT t.name AS teacher, s.kind || ' ' || s.method AS scorer, j.lease_id, j.created_at,
       coalesce(g.sample_index, j.sample_index) AS sample_index
FROM job j
LEFT JOIN generation g ON g.id = j.generation_id
LEFT JOIN teacher t ON t.id = coalesce(j.teacher_id, g.teacher_id)
LEFT JOIN scorer s ON s.id = j.scorer_id
WHERE j.id = :id;
