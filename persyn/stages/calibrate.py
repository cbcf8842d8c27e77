"""Stage 1, calibrating: every teacher answers a sample of prompts, one part to train the router, one to test it."""

from typing import Any

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.jobs import protocol
from persyn.jobs.wake_ups import TEACHER
from persyn.states import Stage

# The order is a hash of the run's seed and the prompt's text, so that the order of import does not change the sample.
_SELECT = text("""
WITH numbered AS (
    SELECT id, row_number() OVER (ORDER BY md5(:seed || sha256), id) AS place
    FROM prompt WHERE prompt_set_id = :prompt_set_id
), sample AS (
    SELECT id, place, count(*) OVER () AS size FROM numbered WHERE place <= :size
)
INSERT INTO calibration_prompt (run_id, prompt_id, split)
SELECT :run_id, id,
       CASE WHEN place <= greatest(1, round(size * CAST(:validation AS double precision)))
            THEN 'validation' ELSE 'train' END
FROM sample
ON CONFLICT DO NOTHING
""")

_ANSWERS = """
SELECT c.run_id, 'generate' AS kind, CAST(:queues AS text) || t.name AS queue, CAST(:stage AS int) AS stage,
       c.prompt_id, t.id AS teacher_id, 0 AS sample_index, CAST(NULL AS bigint) AS generation_id,
       CAST(NULL AS bigint) AS scorer_id
FROM calibration_prompt c
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN teacher t ON t.id = rt.teacher_id
WHERE c.run_id = :run_id AND NOT EXISTS (
    SELECT FROM generation g WHERE g.prompt_id = c.prompt_id AND g.teacher_id = t.id AND g.sample_index = 0)
ORDER BY rt.position, c.prompt_id
"""

# An answer that is none, such as a refusal, counts for none; a cut one is one. The error is the commonest of those that
# ended the teacher's jobs.
_TEACHERS = text("""
SELECT t.name,
       (SELECT count(*) FROM calibration_prompt c
        JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = t.id AND g.sample_index = 0
        WHERE c.run_id = rt.run_id AND coalesce(g.flaw, 'cut') = 'cut') AS answers,
       (SELECT count(*) FROM calibration_prompt c WHERE c.run_id = rt.run_id) AS prompts,
       coalesce((
           SELECT mode() WITHIN GROUP (ORDER BY j.error_code) FROM job j
           WHERE j.run_id = rt.run_id AND j.state = 'dead' AND j.kind = 'generate' AND j.teacher_id = t.id),
           (SELECT mode() WITHIN GROUP (ORDER BY g.flaw)
                   || CASE WHEN bool_and(lower(g.finish_reason) IN ('length', 'max_tokens', 'model_length'))
                           THEN ', cut at max_tokens' ELSE '' END
            FROM calibration_prompt c
            JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = t.id AND g.sample_index = 0
            WHERE c.run_id = rt.run_id)) AS why
FROM run_teacher rt
JOIN teacher t ON t.id = rt.teacher_id
WHERE rt.run_id = :run_id ORDER BY rt.position
""")

# A job that ended at once met an error that no attempt can mend, such as a prompt that is too long: it misses nothing.
# An answer that is missing leaves all its scores missing. What another run has made meanwhile is not missing.
_LOST = text("""
SELECT CASE j.state WHEN 'cancelled' THEN 'cancelled' ELSE j.error_code END AS why, j.kind, count(*) AS jobs
FROM job j
WHERE j.run_id = :run_id AND j.stage IN (:calibrate, :score)
  AND (j.state = 'cancelled'
       OR j.state = 'dead' AND (j.attempt >= :max_attempts OR j.error_code = 'lease_ran_out'))
  AND NOT EXISTS (
      SELECT FROM generation g
      WHERE g.prompt_id = j.prompt_id AND g.teacher_id = j.teacher_id AND g.sample_index = j.sample_index)
  AND NOT EXISTS (SELECT FROM score s WHERE s.generation_id = j.generation_id AND s.scorer_id = j.scorer_id)
GROUP BY 1, j.kind ORDER BY jobs DESC, 1
""")

_SCORERS = text("""
SELECT count(*) FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id
WHERE rs.run_id = :run_id AND s.method <> 'imported'
""")


def select(conn: Connection, run_id: int, *, prompt_set_id: int, size: int, validation: float, seed: int) -> None:
    """Choose the sample once; a run that has one keeps it."""
    chosen = text("SELECT EXISTS (SELECT FROM calibration_prompt WHERE run_id = :id)")
    if conn.execute(chosen, {"id": run_id}).scalar_one():
        return
    conn.execute(
        _SELECT,
        {"run_id": run_id, "prompt_set_id": prompt_set_id, "size": size, "validation": validation, "seed": str(seed)},
    )


def enqueue(conn: Connection, run_id: int) -> int:
    """A job for each teacher's answer that does not exist yet; returns how many are new."""
    return jobs.enqueue(conn, _ANSWERS, {"run_id": run_id, "stage": int(Stage.CALIBRATE), "queues": TEACHER})


def shortfall(conn: Connection, run_id: int, missing_at_most: float, *, whole: bool) -> str | None:
    """The reason why the calibration is no ground to go on from, None where it is one; asked when no job is open.

    It is none where a teacher gave no answer at all, or where more than a share of all scores is missing for a cause
    that may pass. `missing_at_most` 1 takes whatever is there. `whole`: none of its jobs is dead or cancelled.
    """
    if missing_at_most >= 1.0:
        return None
    teachers = conn.execute(_TEACHERS, {"run_id": run_id}).all()
    for teacher in teachers:
        if teacher.answers == 0 and teacher.prompts > 0:
            why = f" ({teacher.why})" if teacher.why else ""
            return f"the teacher {teacher.name} gave no usable answer to {teacher.prompts} calibration prompts{why}"
    return None if whole else _too_many(conn, run_id, missing_at_most, sum(teacher.prompts for teacher in teachers))


def _too_many(conn: Connection, run_id: int, missing_at_most: float, answers: int) -> str | None:
    stages = {"calibrate": int(Stage.CALIBRATE), "score": int(Stage.SCORE)}
    values: dict[str, Any] = {"run_id": run_id, "max_attempts": protocol.MAX_ATTEMPTS, **stages}
    lost = conn.execute(_LOST, values).all()
    scorers = max(1, int(conn.execute(_SCORERS, {"run_id": run_id}).scalar_one()))
    expected = answers * scorers
    missing = sum(row.jobs * (scorers if row.kind == "generate" else 1) for row in lost)
    if missing <= missing_at_most * expected:
        return None
    kinds = {"generate": "answers", "score": "scores"}
    reasons = ", ".join(f"{row.jobs} {kinds[row.kind]} {row.why}" for row in lost)
    return (
        f"{missing} of {expected} calibration scores are missing ({reasons}), more than the"
        f" {missing_at_most:.0%} of calibration.missing_at_most"
    )
