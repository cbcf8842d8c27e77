-- What else is known of one job: teacher, scorer, lease, and when it was enqueued.
-- Called by operators.show.
-- Index: pk_job.
SELECT t.name AS teacher, s.kind || ' ' || s.method AS scorer, j.lease_id, j.created_at
FROM job j
LEFT JOIN generation g ON g.id = j.generation_id
LEFT JOIN teacher t ON t.id = coalesce(j.teacher_id, g.teacher_id)
LEFT JOIN scorer s ON s.id = j.scorer_id
WHERE j.id = :id;
