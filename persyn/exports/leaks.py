"""Problems of an examination whose like a student has learnt: they would measure its memory.

A problem leaks where the rule of `contamination` finds it in a learnt prompt. Answers are not looked at.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn.exports.contamination import Benchmarks, asked

_PROBLEMS = text("""
SELECT id, coalesce(external_id, CAST(id AS text)) AS shown, messages
FROM prompt WHERE prompt_set_id = :set_id ORDER BY position, id
""")
_LEARNT = text("""
SELECT p.messages, array_agg(DISTINCT t.model_id) AS model_ids
FROM student_training t
CROSS JOIN LATERAL unnest(t.generation_ids) AS taught (id)
JOIN generation g ON g.id = taught.id
JOIN prompt p ON p.id = g.prompt_id
WHERE t.model_id = ANY(:model_ids)
GROUP BY p.id
""")


class Leak(NamedTuple):
    """A problem of the set that a student knows."""

    prompt_id: int
    shown: str  # its id of the user's, where it has one


def leaks(conn: Connection, prompt_set_id: int, model_ids: Sequence[int]) -> dict[int, list[Leak]]:
    """The leaks of each student, in the set's order; a student without any has an empty list."""
    problems = conn.execute(_PROBLEMS, {"set_id": prompt_set_id}).all()
    items = Benchmarks(("", number, asked(problem.messages)) for number, problem in enumerate(problems))
    found: dict[int, set[int]] = defaultdict(set)
    learnt = conn.execute(_LEARNT, {"model_ids": list(model_ids)}, execution_options={"yield_per": 1000})
    for row in learnt:
        if like := items.items_like(asked(row.messages)):
            for model_id in row.model_ids:
                found[model_id] |= like
    return {
        model_id: [Leak(problems[number].id, problems[number].shown) for number in sorted(found[model_id])]
        for model_id in model_ids
    }
