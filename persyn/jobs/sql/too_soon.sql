-- Of the whole stages' jobs that were claimed just now, those of whose run an earlier job is open again, as after a
-- retry: what they would read is not final. Rerouting takes what is there, and comes again for the rest;
-- a student learns answers that were fixed when it was asked for.
-- Called by protocol.claim.
-- Index: pk_job, and the counts of the run.
SELECT j.id FROM job j
WHERE j.id = ANY(:job_ids) AND j.kind NOT IN ('reroute', 'train_student') AND (
    SELECT sum(c.jobs) FROM job_count c
    WHERE c.run_id = j.run_id AND c.stage < j.stage AND c.state IN ('ready', 'leased')) > 0;
