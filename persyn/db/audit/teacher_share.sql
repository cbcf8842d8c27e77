-- Which share of a run's prompts goes to each teacher, and on what basis? A rerouted prompt counts with each of its
-- teachers; the prompts that a run explored with have the basis explored.
SELECT r.id AS run_id,
       r.name AS run,
       d.policy,
       t.name AS teacher,
       d.basis,
       count(*) AS prompts,
       count(*)::double precision / sum(count(*) FILTER (WHERE d.attempt = 1)) OVER (PARTITION BY r.id, d.policy) AS share,
       avg(d.margin) AS mean_margin
FROM routing_decision d
JOIN run r ON r.id = d.run_id
JOIN teacher t ON t.id = d.teacher_id
GROUP BY r.id, r.name, d.policy, t.name, d.basis
ORDER BY r.id, d.policy, prompts DESC, t.name
