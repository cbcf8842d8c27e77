-- How many answers and tokens did each teacher give, minute by minute?
SELECT j.run_id,
       t.name AS teacher,
       date_trunc('minute', g.created_at) AS minute,
       count(*) AS generations,
       sum(g.completion_tokens) AS completion_tokens,
       sum(g.completion_tokens) / 60.0 AS tokens_per_second,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.latency_s) AS median_latency_s
FROM generation g
JOIN job j ON j.id = g.job_id
JOIN teacher t ON t.id = g.teacher_id
GROUP BY j.run_id, t.name, date_trunc('minute', g.created_at)
ORDER BY minute, teacher
