"""The summary of a run, from the tables."""

from typing import Any

from sqlalchemy import text

from persyn import reporting
from persyn.cli import terminal


def test_the_summary_counts_the_verdicts_that_rest_on_a_guess(small_run: Any) -> None:
    """Of the calibration answers and of those that the decisions name, and of no other answer to the set."""
    small_run.work()
    bases = ["boxed", "last_in_sight", "text", "last_in_sight", None]
    with small_run.engine.begin() as conn:
        ids = conn.execute(text("""
            SELECT x.generation_id FROM score x JOIN scorer s ON s.id = x.scorer_id AND s.method = 'math_verify'
            JOIN generation g ON g.id = x.generation_id ORDER BY g.prompt_id, g.teacher_id
        """)).scalars().all()  # fmt: skip
        for generation_id, basis in zip(ids, bases, strict=False):
            conn.execute(
                text("""
                UPDATE score SET detail = jsonb_strip_nulls(jsonb_build_object('basis', CAST(:basis AS text)))
                FROM scorer s WHERE s.id = scorer_id AND s.method = 'math_verify' AND generation_id = :id
                """),
                {"id": generation_id, "basis": basis},
            )
        verdicts = reporting.summary(conn, small_run.id).verdicts
    assert verdicts == (len(ids), {"last_in_sight": 2, "text": 1})
    told = "Of 12 verdicts of math_verify 3 rest on a guess: 2 last_in_sight, 1 text (score.detail, basis)."
    assert terminal.guesses_line(verdicts) == told
