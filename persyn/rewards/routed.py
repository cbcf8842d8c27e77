"""Reads the routed prompts' measured answers as matrices, on one scale with the calibration answers.

A calibration reward is normalised within its prompt, which a single answer cannot be. So each scorer's raw values are
standardised instead: minus the mean of all calibration answers, over their deviation. They are then weighed and mixed
by α as rewards are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn.config import RunConfig
from persyn.rewards.matrix import CalibrationScores, WeighedScorer, scorers

Floats = NDArray[np.float64]

MOST = 10_000  # routed prompts that are read; of more, those that a hash puts first

# The runs that go by this run's router have asked it too. A text of the calibration set teaches nothing here: its
# validation part must stay unseen. Of several answers of one teacher the first counts, as in calibration.
_DECIDED = """
FROM run r
JOIN routing_decision d ON d.run_id = r.id AND d.policy = r.policy AND d.attempt = 1 AND d.probability IS NOT NULL
JOIN prompt p ON p.id = d.prompt_id
WHERE coalesce(r.router_run_id, r.id) = :run_id AND NOT EXISTS (
    SELECT FROM calibration_prompt c JOIN prompt known ON known.id = c.prompt_id
    WHERE c.run_id = :run_id AND known.sha256 = p.sha256)
"""
_IS_DECIDED = text(f"SELECT EXISTS (SELECT {_DECIDED})")
_ANSWERS = text(f"""
WITH first AS (
    SELECT d.run_id, d.policy, d.prompt_id, d.probability, p.messages, p.sha256 {_DECIDED}
      AND NOT EXISTS (
          SELECT FROM run_scorer rs WHERE rs.run_id = :run_id AND rs.scorer_id = ANY(:scorer_ids) AND NOT EXISTS (
              SELECT FROM generation g JOIN score x ON x.generation_id = g.id AND x.scorer_id = rs.scorer_id
              WHERE g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0))
    ORDER BY md5(:seed || p.sha256), d.run_id, d.prompt_id LIMIT :most
)
SELECT first.run_id, first.prompt_id, first.probability, first.messages, d.attempt, rt.position,
       (SELECT jsonb_object_agg(x.scorer_id, x.value) FROM score x
        WHERE x.generation_id = g.id AND x.scorer_id = ANY(:scorer_ids)) AS scores
FROM first
JOIN routing_decision d ON d.run_id = first.run_id AND d.policy = first.policy AND d.prompt_id = first.prompt_id
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id
JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id AND g.sample_index = 0
ORDER BY first.run_id, first.prompt_id, d.attempt
""")


class RoutedScores(NamedTuple):
    """Q routed prompts whose first answer was measured, M teachers in coefficient order; values are standardised."""

    prompts: list[list[dict[str, str]]]  # (Q,)
    values: Floats  # (Q, M), NaN where no answer was measured
    first: NDArray[np.intp]  # (Q,) the teacher that the prompt was routed to
    probability: Floats  # (Q,) with which that teacher was chosen
    calibration: Floats  # (C, M) the calibration answers on the same scale


class Spread(NamedTuple):
    """The mean and the deviation of one scorer's calibration values, and what it counts in a reward."""

    centre: float
    deviation: float  # 1 where all values are alike
    share: float  # of the reward; those of all scorers add up to 1


def has_probabilities(conn: Connection, run_id: int) -> bool:
    """Whether a prompt was routed by the run's router with a probability that was kept."""
    return bool(conn.execute(_IS_DECIDED, {"run_id": run_id}).scalar_one())


def load(conn: Connection, run_id: int, config: RunConfig, measured: CalibrationScores) -> RoutedScores:
    """The measured answers to the prompts that the run's router has routed, of this run and of those that go by it."""
    spreads = _spreads(scorers(conn, run_id), config, measured)
    keys = {"run_id": run_id, "scorer_ids": [*spreads], "seed": str(config.seed), "most": MOST}
    prompts: dict[tuple[int, int], list[Any]] = {}
    for row in conn.execute(_ANSWERS, keys):
        prompts.setdefault((row.run_id, row.prompt_id), []).append(row)
    values = np.full((len(prompts), len(config.teachers)), np.nan)
    for place, attempts in enumerate(prompts.values()):
        for attempt in attempts:
            values[place, attempt.position] = _standardised(attempt.scores or {}, spreads)
    firsts = [attempts[0] for attempts in prompts.values()]
    by_id = {scorer.scorer_id: scorer.values for scorer in measured.scores}
    calibration = sum(
        (spread.share * (by_id[scorer_id] - spread.centre) / spread.deviation for scorer_id, spread in spreads.items()),
        np.zeros(measured.reward.shape),
    )
    return RoutedScores(
        [first.messages for first in firsts],
        values,
        np.array([first.position for first in firsts], dtype=np.intp),
        np.array([first.probability for first in firsts], dtype=np.float64),
        np.asarray(calibration),
    )


def _spreads(weighed: Sequence[WeighedScorer], config: RunConfig, measured: CalibrationScores) -> dict[int, Spread]:
    """The spread of each scorer that counts, by its id, over the calibration prompts that teach the router."""
    of_kind = {"quality": 1.0 - config.alpha, "learnability": config.alpha}
    by_id = {scorer.scorer_id: scorer.values for scorer in measured.scores}
    found = {}
    for scorer in weighed:
        total = sum(other.weight for other in weighed if other.kind == scorer.kind)
        share = of_kind[scorer.kind] * scorer.weight / total if total else 0.0
        known = by_id[scorer.scorer_id][measured.train]
        known = known[np.isfinite(known)]
        if share and known.size:
            found[scorer.scorer_id] = Spread(float(known.mean()), float(known.std()) or 1.0, share)
    return found


def _standardised(scores: Mapping[str, float], spreads: Mapping[int, Spread]) -> float:
    """One answer's value; NaN where a score that counts is missing."""
    values = [
        spread.share * (scores.get(str(scorer_id), np.nan) - spread.centre) / spread.deviation
        for scorer_id, spread in spreads.items()
    ]
    return float(np.sum(values)) if values else float("nan")
