"""The order of an export's rows: the prompts' own, or by how hard the student finds the answers that it will learn.

It is worked out where the rows are read, in SQL, so that memory stays flat: of a prompt with several answers, whose
best is told in Python, one number is kept.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from persyn import runs
from persyn.config import Order
from persyn.config.export import NO_LOGLIK
from persyn.errors import ConfigError

_LOGLIK = text("""
SELECT s.id FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id
WHERE rs.run_id = :run_id AND s.method = 'loglik'
ORDER BY s.config ->> 'answer_tokens' NULLS FIRST, s.id LIMIT 1
""")

_BY_SCORE = "LEFT JOIN score hard ON hard.generation_id = a.generation_id AND hard.scorer_id = :order_scorer"
_BY_VALUE = """
LEFT JOIN unnest(CAST(:order_prompts AS bigint[]), CAST(:order_values AS float8[])) AS hard (prompt_id, value)
       ON hard.prompt_id = p.id
"""


class RowOrder(NamedTuple):
    """A join beside the answers `a` of the prompts `p`, the keys to sort by, and the join's parameters."""

    join: str
    keys: str
    parameters: dict[str, Any]


GIVEN = RowOrder("", "p.position, p.id", {})


def loglik_scorer(conn: Connection, run: runs.Run, order: Order) -> int:
    """The run's measure of the student's mean log-likelihood, best of the whole answer. Raises ConfigError."""
    scorer_id = conn.execute(_LOGLIK, {"run_id": run.id}).scalar()
    if scorer_id is None:
        raise ConfigError(f"--order {order}: {NO_LOGLIK}.")
    return int(scorer_id)


def by_score(order: Order, scorer_id: int) -> RowOrder:
    """By the stored log-likelihood of each prompt's only answer."""
    return RowOrder(_BY_SCORE, _keys(order), {"order_scorer": scorer_id})


def by_value(order: Order, values: Mapping[int, float]) -> RowOrder:
    """By the log-likelihood of the answer that is taken, which the caller knows by the prompt's id."""
    return RowOrder(
        _BY_VALUE,
        _keys(order),
        {"order_prompts": [*values], "order_values": [float(value) for value in values.values()]},
    )


def _keys(order: Order) -> str:
    return f"hard.value {'DESC' if order == 'easy_first' else 'ASC'} NULLS LAST, p.id"
