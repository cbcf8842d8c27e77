"""Stage 1, calibrating: every teacher answers a sample of prompts, one part to train the router, one to test it."""

from sqlalchemy import Connection, text

from persyn import jobs
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
       c.prompt_id, t.id AS teacher_id, CAST(NULL AS bigint) AS generation_id, CAST(NULL AS bigint) AS scorer_id
FROM calibration_prompt c
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN teacher t ON t.id = rt.teacher_id
WHERE c.run_id = :run_id AND NOT EXISTS (
    SELECT FROM generation g WHERE g.prompt_id = c.prompt_id AND g.teacher_id = t.id AND g.sample_index = 0)
ORDER BY rt.position, c.prompt_id
"""


def select(conn: Connection, run_id: int, *, prompt_set_id: int, size: int, validation: float, seed: int) -> None:
    """Choose the sample once; a run that has one keeps it."""
    if conn.execute(text("SELECT FROM calibration_prompt WHERE run_id = :id LIMIT 1"), {"id": run_id}).first():
        return
    conn.execute(
        _SELECT,
        {"run_id": run_id, "prompt_set_id": prompt_set_id, "size": size, "validation": validation, "seed": str(seed)},
    )


def enqueue(conn: Connection, run_id: int) -> int:
    """A job for each teacher's answer that does not exist yet; returns how many are new."""
    return jobs.enqueue(conn, _ANSWERS, {"run_id": run_id, "stage": int(Stage.CALIBRATE), "queues": TEACHER})
