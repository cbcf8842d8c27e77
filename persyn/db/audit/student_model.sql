-- Which students were trained on a run's answers: by which policy and seed, on how much, how well, and where are they?
-- One row for each training that was asked for; those of policies that chose the same rows share a model. The columns of
-- the model are null until it is trained; job_state says why.
-- tokens: of which a loss was taken, in all passes. final_loss: nats a token, the mean of the last pass.
-- left_out: answers that gave no row, by reason. host: on which it was trained.
SELECT t.run_id,
       r.name AS run,
       t.id AS training_id,
       t.policy,
       t.seed,
       cardinality(t.generation_ids) AS answers,
       t.created_at AS asked_at,
       j.id AS job_id,
       j.state AS job_state,
       j.error_code,
       m.id AS model_id,
       s.name AS student,
       s.model AS base,
       s.revision AS base_revision,
       m.base_sha256,
       m.rows_sha256,
       coalesce(m.hyperparameters, t.settings) AS hyperparameters,
       m.dtype,
       m.rows,
       m.left_out,
       m.tokens,
       m.steps,
       m.seconds,
       m.final_loss,
       m.losses,
       m.artifact_place,
       m.artifact_path,
       m.artifact_sha256,
       l.host,
       m.code_version,
       m.trained_with,
       m.created_at AS trained_at
FROM student_training t
JOIN run r ON r.id = t.run_id
JOIN job j ON j.id = t.job_id
JOIN student s ON s.id = r.student_id
LEFT JOIN student_model m ON m.id = t.model_id
LEFT JOIN lease l ON l.id = m.lease_id
ORDER BY t.run_id, t.id
