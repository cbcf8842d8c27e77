-- Of the jobs that were claimed just now, those that need no work: `stored`, the result is there already, or another
-- open run's job for the same result, its twin, is being worked on. Of twins that were claimed together the older one
-- goes ahead. An answer that was cut is no result for a job that was made after it.
-- Called by protocol.claim.
-- Index: pk_job; the unique ones of answers, scores and jobs, one probe for each job and each other open run of its set.
WITH claimed AS (
    SELECT j.id, j.run_id, j.prompt_id, j.teacher_id, j.sample_index, j.generation_id, j.scorer_id, j.created_at,
           r.prompt_set_id
    FROM job j JOIN run r ON r.id = j.run_id WHERE j.id = ANY(:job_ids)
), found AS (
    SELECT c.id, EXISTS (
               SELECT FROM generation g
               WHERE g.prompt_id = c.prompt_id AND g.teacher_id = c.teacher_id AND g.sample_index = c.sample_index
                 AND (g.flaw IS DISTINCT FROM 'cut' OR g.created_at >= c.created_at)
           ) OR EXISTS (
               SELECT FROM score s WHERE s.generation_id = c.generation_id AND s.scorer_id = c.scorer_id) AS stored,
           EXISTS (
               SELECT FROM run other JOIN job twin ON twin.run_id = other.id AND twin.state = 'leased'
                AND twin.kind = 'generate' AND twin.teacher_id = c.teacher_id AND twin.prompt_id = c.prompt_id
                AND twin.sample_index = c.sample_index
               WHERE other.prompt_set_id = c.prompt_set_id AND other.finished_at IS NULL AND other.id <> c.run_id
                 AND (twin.id < c.id OR twin.id <> ALL(:job_ids))
           ) OR EXISTS (
               SELECT FROM run other JOIN job twin ON twin.run_id = other.id AND twin.state = 'leased'
                AND twin.kind = 'score' AND twin.scorer_id = c.scorer_id AND twin.generation_id = c.generation_id
               WHERE other.prompt_set_id = c.prompt_set_id AND other.finished_at IS NULL AND other.id <> c.run_id
                 AND (twin.id < c.id OR twin.id <> ALL(:job_ids))) AS asked
    FROM claimed c
)
SELECT id, stored FROM found WHERE stored OR asked;
