"""Deletes runs, prompts and old events for good: each in one transaction, in the order of the foreign keys.

A lease is deleted only where no result names it, a version never.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, text

from persyn.errors import ConfigError, NotFound
from persyn.runs import routed_by

AT_ONCE = 5000  # prompts that a statement may name
PRUNED_TABLES = ("job_event", "lease", "worker", "artifact_chunk")

# The teachers of a run that no other run over the same set has: only their answers go with it.
_OWN_TEACHERS = """
SELECT rt.teacher_id FROM run_teacher rt WHERE rt.run_id = :run_id AND NOT EXISTS (
    SELECT FROM run_teacher AS other JOIN run o ON o.id = other.run_id
    WHERE other.teacher_id = rt.teacher_id AND o.id <> :run_id
      AND o.prompt_set_id = (SELECT prompt_set_id FROM run WHERE id = :run_id))
"""
_OWN_SCORERS = """
SELECT rs.scorer_id FROM run_scorer rs WHERE rs.run_id = :run_id AND NOT EXISTS (
    SELECT FROM run_scorer AS other WHERE other.scorer_id = rs.scorer_id AND other.run_id <> :run_id)
"""
_RUNS_ANSWERS = """
SELECT g.id, g.teacher_id IN (SELECT teacher_id FROM own_teacher) AS own
FROM generation g JOIN prompt p ON p.id = g.prompt_id
WHERE p.prompt_set_id = (SELECT prompt_set_id FROM run WHERE id = :run_id)
  AND g.teacher_id IN (SELECT teacher_id FROM run_teacher WHERE run_id = :run_id)
"""

_SIZE_OF_RUN = text(f"""
WITH own_teacher AS ({_OWN_TEACHERS}), answer AS MATERIALIZED ({_RUNS_ANSWERS})
SELECT (SELECT count(*) FROM answer WHERE own) AS "answers",
       (SELECT count(*) FROM answer WHERE NOT own) AS "answers that stay, as other runs have their teachers",
       (SELECT count(*) FROM score s JOIN answer a ON a.id = s.generation_id
        WHERE a.own OR s.scorer_id IN ({_OWN_SCORERS})) AS "scores",
       (SELECT count(*) FROM job WHERE run_id = :run_id) AS "jobs",
       (SELECT count(*) FROM routing_decision WHERE run_id = :run_id) AS "decisions",
       (SELECT count(*) FROM router WHERE run_id = :run_id) AS "routers",
       (SELECT coalesce(sum(octet_length(c.content)) / 1000, 0) FROM artifact_chunk c
        JOIN router ON router.artifact_sha256 = c.sha256 WHERE router.run_id = :run_id) AS "kB of router files",
       (SELECT count(*) FROM export WHERE run_id = :run_id) AS "exports",
       (SELECT count(*) FROM student_training WHERE run_id = :run_id) AS "trainings of its student"
""")

_DELETE_RUN = tuple(
    text(statement)
    for statement in (
        f"""
        WITH own_teacher AS ({_OWN_TEACHERS}), answer AS MATERIALIZED ({_RUNS_ANSWERS})
        DELETE FROM score s USING answer a
        WHERE a.id = s.generation_id AND (a.own OR s.scorer_id IN ({_OWN_SCORERS}))
        """,
        f"""
        WITH own_teacher AS ({_OWN_TEACHERS}), answer AS MATERIALIZED ({_RUNS_ANSWERS})
        DELETE FROM generation g USING answer a WHERE a.id = g.id AND a.own
        """,
        """
        DELETE FROM generation_import i WHERE i.run_id = :run_id
          AND NOT EXISTS (SELECT FROM generation g WHERE g.import_id = i.id)
          AND NOT EXISTS (SELECT FROM score s WHERE s.import_id = i.id)
        """,
        "UPDATE generation_import SET run_id = NULL WHERE run_id = :run_id",
        "DELETE FROM routing_decision WHERE run_id = :run_id",
        "DELETE FROM routing_coefficients WHERE run_id = :run_id",
        "DELETE FROM rerouting WHERE run_id = :run_id",
        "DELETE FROM router WHERE run_id = :run_id",
        "DELETE FROM export WHERE run_id = :run_id",
        "DELETE FROM student_training WHERE run_id = :run_id",
        """
        DELETE FROM student_model m WHERE NOT EXISTS (SELECT FROM student_training t WHERE t.model_id = m.id)
        """,
        "DELETE FROM calibration_prompt WHERE run_id = :run_id",
        "DELETE FROM run_scorer WHERE run_id = :run_id",
        "DELETE FROM run_teacher WHERE run_id = :run_id",
        "DELETE FROM job_event e USING job j WHERE j.id = e.job_id AND j.run_id = :run_id",
        "DELETE FROM job WHERE run_id = :run_id",
        "DELETE FROM job_count WHERE run_id = :run_id",
        "DELETE FROM run WHERE id = :run_id",
    )
)

_FILES_OF_RUN = text("""
SELECT path FROM export WHERE run_id = :run_id
UNION SELECT artifact_path FROM router WHERE run_id = :run_id AND artifact_place = 'host'
UNION SELECT artifact_path || ' in PERSYN_ARTIFACTS_URL' FROM router WHERE run_id = :run_id AND artifact_place = 'store'
UNION SELECT CASE m.artifact_place WHEN 'host' THEN m.artifact_path
                                   ELSE m.artifact_path || ' in PERSYN_ARTIFACTS_URL' END
FROM student_training t JOIN student_model m ON m.id = t.model_id
WHERE t.run_id = :run_id AND m.artifact_place <> 'database' AND NOT EXISTS (
    SELECT FROM student_training other WHERE other.model_id = m.id AND other.run_id <> :run_id)
ORDER BY 1
""")

_UNNAMED_CHUNKS = text("""
DELETE FROM artifact_chunk c WHERE NOT EXISTS (
    SELECT FROM router r WHERE r.artifact_sha256 = c.sha256 AND r.artifact_place = 'database')
  AND NOT EXISTS (
    SELECT FROM student_model m WHERE m.artifact_sha256 = c.sha256 AND m.artifact_place = 'database')
""")

_PROMPTS = text("""
SELECT p.id FROM prompt p JOIN prompt_set s ON s.id = p.prompt_set_id
WHERE s.name = :set_name
  AND (:everything OR p.external_id = ANY(:keys) OR p.id::text = ANY(:keys) OR p.sha256 = ANY(:keys))
ORDER BY p.id
""")

# A prompt's jobs: those that ask for its answers, and those that score them.
_JOBS_OF_PROMPTS = """
SELECT j.id FROM job j WHERE j.prompt_id = ANY(:ids)
UNION ALL
SELECT j.id FROM job j JOIN generation g ON g.id = j.generation_id WHERE g.prompt_id = ANY(:ids)
"""

_SIZE_OF_PROMPTS = text(f"""
SELECT CAST(cardinality(CAST(:ids AS bigint[])) AS bigint) AS "prompts",
       (SELECT count(*) FROM generation WHERE prompt_id = ANY(:ids)) AS "answers",
       (SELECT count(*) FROM score s JOIN generation g ON g.id = s.generation_id
        WHERE g.prompt_id = ANY(:ids)) AS "scores",
       (SELECT count(*) FROM ({_JOBS_OF_PROMPTS}) AS j) AS "jobs",
       (SELECT count(*) FROM routing_decision WHERE prompt_id = ANY(:ids)) AS "decisions"
""")

_DELETE_PROMPTS = tuple(
    text(statement)
    for statement in (
        f"DELETE FROM job_event WHERE job_id IN ({_JOBS_OF_PROMPTS})",
        f"""
        WITH gone AS (DELETE FROM job WHERE id IN ({_JOBS_OF_PROMPTS}) RETURNING run_id, queue, stage, state)
        INSERT INTO job_count (run_id, queue, stage, state, jobs)
        SELECT run_id, queue, stage, state, -count(*) FROM gone GROUP BY run_id, queue, stage, state
        """,
        "DELETE FROM score s USING generation g WHERE g.id = s.generation_id AND g.prompt_id = ANY(:ids)",
        "DELETE FROM generation WHERE prompt_id = ANY(:ids)",
        "DELETE FROM calibration_prompt WHERE prompt_id = ANY(:ids)",
        "DELETE FROM routing_coefficients WHERE prompt_id = ANY(:ids)",
        """
        WITH gone AS (DELETE FROM routing_decision WHERE prompt_id = ANY(:ids) RETURNING run_id, policy), fewer AS (
            SELECT gone.run_id, count(*) AS decisions FROM gone
            JOIN run r ON r.id = gone.run_id AND r.policy = gone.policy GROUP BY gone.run_id)
        UPDATE run SET decided_count = decided_count - fewer.decisions
        FROM fewer WHERE run.id = fewer.run_id AND decided_count IS NOT NULL
        """,
        """
        WITH gone AS (DELETE FROM prompt WHERE id = ANY(:ids) RETURNING prompt_set_id), fewer AS (
            SELECT prompt_set_id, count(*) AS prompts FROM gone GROUP BY prompt_set_id)
        UPDATE run SET prompt_count = prompt_count - fewer.prompts
        FROM fewer WHERE run.prompt_set_id = fewer.prompt_set_id AND prompt_count IS NOT NULL
        """,
    )
)

_FILES_WITH_PROMPTS = text("""
SELECT DISTINCT x.path FROM export x
WHERE EXISTS (SELECT FROM routing_decision d WHERE d.run_id = x.run_id AND d.prompt_id = ANY(:ids))
UNION SELECT 'the trained student ' || t.model_id FROM student_training t
WHERE t.model_id IS NOT NULL AND t.generation_ids && ARRAY(SELECT g.id FROM generation g WHERE g.prompt_id = ANY(:ids))
ORDER BY 1
""")

_LEASED = {
    "run": text("SELECT count(*) FROM job WHERE run_id = :run_id AND state = 'leased'"),
    "prompts": text(f"SELECT count(*) FROM job WHERE id IN ({_JOBS_OF_PROMPTS}) AND state = 'leased'"),
}

_PRUNE = {
    "job_event": text("""
    WITH old AS (
        UPDATE run SET events_pruned_at = clock_timestamp()
        WHERE coalesce(finished_at, cancelled_at) < clock_timestamp() - make_interval(secs => :seconds)
        RETURNING id)
    DELETE FROM job_event e USING job j, old
    WHERE j.id = e.job_id AND j.run_id = old.id AND j.state IN ('done', 'cancelled')
    """),
    "lease": text("""
    DELETE FROM lease l
    WHERE l.revoked_at < clock_timestamp() - make_interval(secs => :seconds)
      AND NOT EXISTS (SELECT FROM generation g WHERE g.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM score s WHERE s.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM routing_decision d WHERE d.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM routing_coefficients k WHERE k.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM router WHERE router.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM student_model m WHERE m.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM job j WHERE j.lease_id = l.id)
      AND NOT EXISTS (SELECT FROM job_event e WHERE e.lease_id = l.id)
    """),
    "worker": text("DELETE FROM worker WHERE seen_at < clock_timestamp() - make_interval(secs => :seconds)"),
}


def size_of_run(conn: Connection, run_id: int) -> dict[str, int]:
    """The numbers of all that `delete_run` would remove, and of the answers that it would leave."""
    return dict(conn.execute(_SIZE_OF_RUN, {"run_id": run_id}).one()._mapping)


def delete_run(conn: Connection, run_id: int) -> list[str]:
    """Delete a run and all that only it needs; returns the files that it leaves behind.

    Raises ConfigError while workers hold its jobs, and where another run goes by its router.
    """
    values = {"run_id": run_id}
    conn.execute(text("SELECT id FROM run WHERE id = :run_id FOR UPDATE"), values)
    if names := routed_by(conn, run_id):
        raise ConfigError(f"Its router is that of other runs: {', '.join(names)}. `persyn runs delete` them first.")
    _refuse_leased(conn, "run", values)
    files = list(conn.execute(_FILES_OF_RUN, values).scalars())
    for statement in _DELETE_RUN:
        conn.execute(statement, values)
    delete_unnamed_chunks(conn)
    return files


def delete_unnamed_chunks(conn: Connection) -> int:
    """Delete the files that no router and no student names any more; returns how many parts they were.

    The lock makes it wait for a transaction that stores a router, or a student, which may name the same files.
    """
    conn.execute(text("LOCK TABLE artifact_chunk IN SHARE ROW EXCLUSIVE MODE"))
    return conn.execute(_UNNAMED_CHUNKS).rowcount


def find_prompts(conn: Connection, set_name: str, keys: Sequence[str], *, everything: bool = False) -> list[int]:
    """The prompts of a set by the id of the user's file, by number or by the sha256 of their messages.

    Raises NotFound where there is none.
    """
    values = {"set_name": set_name, "keys": list(keys), "everything": everything}
    ids = list(conn.execute(_PROMPTS, values).scalars())
    if not ids:
        raise NotFound(f"The set {set_name!r} has no such prompt. `persyn prompts list` lists the sets.")
    return ids


def size_of_prompts(conn: Connection, ids: Sequence[int]) -> dict[str, int]:
    """The numbers of all that `delete_prompts` would remove."""
    parts = [conn.execute(_SIZE_OF_PROMPTS, {"ids": part}).one()._mapping for part in _parts(ids)]
    return {what: sum(part[what] for part in parts) for what in parts[0]}


def delete_prompts(conn: Connection, ids: Sequence[int]) -> list[str]:
    """Delete prompts with their answers, scores, decisions and jobs in every run; returns the exports that hold them.

    Raises ConfigError while workers hold a job of theirs.
    """
    _refuse_leased(conn, "prompts", *({"ids": part} for part in _parts(ids)))
    files = {path for part in _parts(ids) for path in conn.execute(_FILES_WITH_PROMPTS, {"ids": part}).scalars()}
    for part in _parts(ids):
        for statement in _DELETE_PROMPTS:
            conn.execute(statement, {"ids": part})
    return sorted(files)


def _parts(ids: Sequence[int]) -> list[list[int]]:
    return [list(ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE)]


def delete_set(conn: Connection, name: str) -> None:
    """Delete a prompt set that holds nothing more. Raises ConfigError where a run stands on it."""
    runs = conn.execute(
        text("SELECT r.name FROM run r JOIN prompt_set s ON s.id = r.prompt_set_id WHERE s.name = :name ORDER BY r.id"),
        {"name": name},
    ).scalars()
    if names := list(runs):
        raise ConfigError(f"Runs stand on the set {name!r}: {', '.join(names)}. `persyn runs delete` them first.")
    conn.execute(text("DELETE FROM prompt_set WHERE name = :name"), {"name": name})


def prune(engine: Engine, older_than_s: float) -> dict[str, int]:
    """Delete the events of runs that ended before then, leases that nothing names, and workers that left; the numbers.

    The runs, their jobs and results stay. Dead jobs keep their events. Files that nothing names go at any age.
    """
    with engine.begin() as conn:
        removed = {table: conn.execute(delete, {"seconds": older_than_s}).rowcount for table, delete in _PRUNE.items()}
        removed["artifact_chunk"] = delete_unnamed_chunks(conn)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"VACUUM (ANALYZE) {', '.join(PRUNED_TABLES)}"))
    return removed


def sizes(conn: Connection) -> dict[str, int]:
    """The bytes of each table that `prune` makes smaller, with its indexes."""
    return {
        table: int(conn.execute(text(f"SELECT pg_total_relation_size('{table}')")).scalar_one())
        for table in PRUNED_TABLES
    }


def sentence(numbers: Mapping[str, int]) -> str:
    """`1 job, 30 answers`; what there is none of is left out."""
    named = ((number, what.removesuffix("s") if number == 1 else what) for what, number in numbers.items() if number)
    return ", ".join(f"{number:,} {what}" for number, what in named) or "nothing hangs on it"


def _refuse_leased(conn: Connection, kind: str, *parts: dict[str, Any]) -> None:
    leased = sum(conn.execute(_LEASED[kind], values).scalar_one() for values in parts)
    if leased:
        raise ConfigError(
            f"Workers hold {leased} of the jobs. `persyn runs cancel` the run, wait until they have finished, and try"
            " again."
        )
