"""The versions that a run stands on: teachers, students and scorers, written once and never changed.

A changed configuration makes a new version, so that an answer or a score keeps naming what computed it.
"""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from persyn.config import (
    LearnabilityScorer,
    QualityScorer,
    Student,
    Teacher,
    fingerprint,
    parse_scorer,
    scorer_identity,
)


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


_COLUMNS = {
    "teacher": "name, config_sha256, config, family, params_b, model, revision, system_prompt, endpoint",
    "student": "name, config_sha256, config, model, revision",
}


def keep(conn: Connection, table: str, version: Teacher | Student) -> int:
    """The id of the immutable version with this configuration, made if it is new.

    Versions are compared as this code reads them: a key that a later PerSyn adds makes no new version by its default.
    """
    # Where an earlier PerSyn told apart what is one now, the newest has the answers that are worth most.
    known = conn.execute(
        text(f"SELECT id, config FROM {table} WHERE name = :name ORDER BY id DESC"), {"name": version.name}
    )
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
            bindparam("config", type_=JSONB)
        ),
        {column: values.get(column) for column in columns.split(", ")},
    )
    row_id = conn.execute(
        text(f"SELECT id FROM {table} WHERE name = :name AND config_sha256 = :sha256"),
        {"name": version.name, "sha256": values["config_sha256"]},
    )
    return int(row_id.scalar_one())


def keep_scorer(conn: Connection, kind: str, scorer: QualityScorer | LearnabilityScorer, student_id: int | None) -> int:
    """The id of the scorer with this configuration, made if it is new. Its weight is the run's and no part of it."""
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
        """).bindparams(bindparam("config", type_=JSONB)),
        {
            "kind": kind,
            "method": scorer.kind,
            "student_id": student_id,
            "sha256": sha256,
            "config": scorer.model_dump(mode="json", exclude={"weight"}),
        },
    )
    row_id = conn.execute(
        text("SELECT id FROM scorer WHERE kind = :kind AND config_sha256 = :sha256"), {"kind": kind, "sha256": sha256}
    )
    return int(row_id.scalar_one())


_TAKE_OVER = text("""
WITH whole AS (
    SELECT DISTINCT ON (g.prompt_id, g.sample_index) g.*
    FROM generation g JOIN prompt p ON p.id = g.prompt_id
    WHERE g.teacher_id = ANY(:siblings) AND p.prompt_set_id = :prompt_set_id
      AND g.flaw IS DISTINCT FROM 'failed'
      AND (lower(g.finish_reason) NOT IN ('length', 'max_tokens', 'model_length') OR g.teacher_id = ANY(:larger))
    ORDER BY g.prompt_id, g.sample_index, g.flaw NULLS FIRST, g.id DESC
), taken AS (
    INSERT INTO generation (prompt_id, teacher_id, sample_index, text, reasoning, tool_calls, finish_reason,
                            prompt_tokens, completion_tokens, seed, latency_s, server_version, job_id, lease_id, origin,
                            import_id, created_at)
    SELECT prompt_id, :teacher_id, sample_index, text, reasoning, tool_calls, finish_reason, prompt_tokens,
           completion_tokens, seed, latency_s, server_version, job_id, lease_id, origin, import_id, created_at
    FROM whole
    ON CONFLICT (prompt_id, teacher_id, sample_index) DO NOTHING
    RETURNING id, prompt_id, sample_index
)
INSERT INTO score (generation_id, scorer_id, value, detail, job_id, lease_id, import_id, created_at)
SELECT taken.id, s.scorer_id, s.value, s.detail, s.job_id, s.lease_id, s.import_id, s.created_at
FROM taken
JOIN whole USING (prompt_id, sample_index)
JOIN score s ON s.generation_id = whole.id
""")


def take_over(conn: Connection, teacher_id: int, prompt_set_id: int) -> None:
    """Give a teacher version the answers of those that differ from it in the limit of tokens alone.

    An answer that came to its end is the same under any limit that it kept. One that was cut is asked again, unless it
    was cut by a limit that is no smaller.
    """
    rows = conn.execute(
        text("SELECT id, config FROM teacher WHERE name = (SELECT name FROM teacher WHERE id = :id)"),
        {"id": teacher_id},
    )
    versions = {row.id: Teacher.model_validate(row.config) for row in rows}
    own = versions.pop(teacher_id)
    siblings = [key for key, other in versions.items() if other.but_for_the_limit() == own.but_for_the_limit()]
    if not siblings:
        return
    larger = [key for key in siblings if versions[key].sampling.max_tokens >= own.sampling.max_tokens]
    values = {"teacher_id": teacher_id, "prompt_set_id": prompt_set_id, "siblings": siblings, "larger": larger}
    conn.execute(_TAKE_OVER, values)


def load_teacher(conn: Connection, teacher_id: int) -> TeacherVersion:
    """The version as the run that was written last gives it: its endpoint may change, all else is the same."""
    row = conn.execute(
        text("""
        SELECT t.id, coalesce((
                   SELECT r.config -> 'teachers' -> rt.position FROM run_teacher rt JOIN run r ON r.id = rt.run_id
                   WHERE rt.teacher_id = t.id ORDER BY r.configured_at DESC, r.id DESC LIMIT 1), t.config) AS config
        FROM teacher t WHERE t.id = :id
        """),
        {"id": teacher_id},
    ).one()
    return TeacherVersion(row.id, Teacher.model_validate(row.config))


def teacher_names(conn: Connection) -> list[str]:
    return [row.name for row in conn.execute(text("SELECT DISTINCT name FROM teacher ORDER BY name"))]


def load_scorer(conn: Connection, scorer_id: int) -> ScorerVersion:
    """The scorer as the run that was written last gives it: its endpoint may change, all else is the same."""
    row = conn.execute(
        text("""
        SELECT s.id, s.kind, s.method, s.student_id, st.model, st.revision,
               (st.config ->> 'max_length')::int AS max_length, s.config, (
                   SELECT r.config -> 'scorers' -> s.kind FROM run_scorer rs JOIN run r ON r.id = rs.run_id
                   WHERE rs.scorer_id = s.id ORDER BY r.configured_at DESC, r.id DESC LIMIT 1) AS newest
        FROM scorer s LEFT JOIN student st ON st.id = s.student_id WHERE s.id = :id
        """),
        {"id": scorer_id},
    ).one()
    student = (row.student_id, row.model, row.revision, row.max_length)
    stored = parse_scorer(row.kind, row.config)
    given = [parse_scorer(row.kind, config) for config in row.newest or []]
    same = [scorer for scorer in given if scorer_identity(scorer) == scorer_identity(stored)]
    return ScorerVersion(row.id, row.kind, row.method, *student, (same or [stored])[0])


def scorers_of_student(conn: Connection, student_id: int) -> list[ScorerVersion]:
    """Every way in which this student's learnability is measured: one forward pass serves them all."""
    rows = conn.execute(text("SELECT id FROM scorer WHERE student_id = :id ORDER BY id"), {"id": student_id})
    return [load_scorer(conn, row.id) for row in rows.all()]


def scored_together(conn: Connection, scorer_id: int) -> list[ScorerVersion]:
    """The scorer, and where it measures learnability every other measure of its student: one forward pass gives all."""
    scorer = load_scorer(conn, scorer_id)
    return [scorer] if scorer.student_id is None else scorers_of_student(conn, scorer.student_id)
