-- Why did a prompt go to its teacher: by how much, ahead of whom, and near to which calibration prompts? And where that
-- answer was not good enough, why to the next one: who failed before, the expected gain, and the price?
-- probability: with which its teacher was chosen, where the run explores; null where nothing was left to chance.
SELECT d.run_id,
       r.name AS run,
       d.prompt_id,
       p.external_id,
       d.policy,
       d.basis,
       t.name AS teacher,
       d.router_id,
       d.coefficients[rt.position + 1] AS coefficient,
       d.margin,
       rival.name AS runner_up,
       rival.coefficient AS runner_up_coefficient,
       (SELECT jsonb_object_agg(every.name, d.coefficients[pool.position + 1])
        FROM run_teacher pool
        JOIN teacher every ON every.id = pool.teacher_id
        WHERE pool.run_id = d.run_id AND d.coefficients IS NOT NULL) AS coefficients,
       d.neighbour_ids,
       (SELECT array_agg(coalesce(n.external_id, n.id::text) ORDER BY near.place)
        FROM unnest(d.neighbour_ids) WITH ORDINALITY AS near (id, place)
        JOIN prompt n ON n.id = near.id) AS neighbours,
       d.created_at,
       d.samples,
       d.attempt,
       (SELECT array_agg(f.name ORDER BY asked.place)
        FROM unnest(d.failed_teacher_ids) WITH ORDINALITY AS asked (id, place)
        JOIN teacher f ON f.id = asked.id) AS failed_teachers,
       d.gain,
       d.price,
       d.probability
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN prompt p ON p.id = d.prompt_id
JOIN teacher t ON t.id = d.teacher_id
LEFT JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
LEFT JOIN LATERAL (
    SELECT other.name, d.coefficients[place.position + 1] AS coefficient
    FROM run_teacher place
    JOIN teacher other ON other.id = place.teacher_id
    WHERE place.run_id = d.run_id AND place.teacher_id <> d.teacher_id
      AND d.coefficients[place.position + 1] IS NOT NULL
    ORDER BY d.coefficients[place.position + 1] DESC, place.position
    LIMIT 1) rival ON true
