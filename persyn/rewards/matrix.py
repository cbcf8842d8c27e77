"""Reads the calibration scores as matrices: a row per prompt, a column per teacher, NaN where a score is missing.

Only raw values are stored. Normalisation and α are applied here, at reading, so that another choice needs no new run.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from persyn.config import RunConfig
from persyn.rewards.combine import combine, lark_gain, weighted

Floats = NDArray[np.float64]

_SCORES = text("""
SELECT c.prompt_id, rt.position, rs.scorer_id, x.value,
       CASE s.method WHEN 'lark' THEN CAST(x.detail ->> 'loss' AS float8) END AS loss
FROM run r
JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN run_scorer rs ON rs.run_id = c.run_id
JOIN scorer s ON s.id = rs.scorer_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
JOIN score x ON x.generation_id = g.id AND x.scorer_id = rs.scorer_id
WHERE r.id = :run_id
""")

_PROMPTS = text("""
SELECT c.prompt_id, c.split, p.messages
FROM run r
JOIN calibration_prompt c ON c.run_id = coalesce(r.router_run_id, r.id)
JOIN prompt p ON p.id = c.prompt_id
WHERE r.id = :run_id ORDER BY c.prompt_id
""")


_SCORERS = text("""
SELECT rs.scorer_id, s.kind, s.method, rs.weight FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id
WHERE rs.run_id = :run_id ORDER BY s.kind, rs.scorer_id
""")


class WeighedScorer(NamedTuple):
    """One scorer of a run."""

    scorer_id: int
    kind: str  # quality or learnability
    method: str
    weight: float


class Scores(NamedTuple):
    """One scorer's values."""

    scorer_id: int
    kind: str  # quality or learnability
    method: str
    weight: float
    values: Floats  # (C, M), raw
    losses: Floats  # (C, M), of lark alone: the answers' mean losses

    @classmethod
    def empty(cls, scorer: WeighedScorer, shape: tuple[int, ...]) -> "Scores":
        """Without a value yet."""
        return cls(*scorer, np.full(shape, np.nan), np.full(shape, np.nan))

    def among_answers(self) -> Floats:
        """(C, M) the values of the answers to one prompt among each other, which for most scorers are the raw ones."""
        return lark_gain(self.values, self.losses) if self.method == "lark" else self.values


class Combined(NamedTuple):
    """All scorers' values, combined: P prompts, M answers to each."""

    quality: Floats  # (P, M): the scorer's raw values, or the weighted mean of several scorers' normalised values
    learnability: Floats  # (P, M): likewise
    reward: Floats  # (P, M)


class CalibrationScores(NamedTuple):
    """The scores of the calibration set: C prompts, M teachers in coefficient order."""

    prompt_ids: list[int]  # (C,)
    messages: list[list[dict[str, str]]]  # (C,)
    train: NDArray[np.intp]  # rows that the router may learn from
    validation: NDArray[np.intp]  # rows that it is tested on
    quality: Floats  # (C, M): the scorer's raw values, or the weighted mean of several scorers' normalised values
    learnability: Floats  # (C, M): likewise
    reward: Floats  # (C, M), combined
    scores: list[Scores]  # one for each scorer

    def raw_learnability(self) -> Floats:
        """(C, M) the values of learnability before they are normalised; of several measures the weighted mean."""
        return raw_mean(self.scores, "learnability", self.reward.shape)

    def raw_quality(self) -> Floats:
        """(C, M) the raw values of quality; of several scorers the weighted mean, NaN where one is missing."""
        weighed = [scorer for scorer in self.scores if scorer.kind == "quality" and scorer.weight]
        total = sum(scorer.weight for scorer in weighed)
        return np.asarray(
            sum((scorer.values * (scorer.weight / total) for scorer in weighed), np.zeros(self.reward.shape))
        )


def raw_mean(scores: Sequence[Scores], kind: str, shape: tuple[int, ...]) -> Floats:
    """(P, M) the weighted mean of one kind's values before they are normalised, over the scorers that have one."""
    total, weights = np.zeros(shape), np.zeros(shape)
    for scorer in scores:
        if scorer.kind == kind:
            values = scorer.among_answers()
            weights += np.where(np.isnan(values), 0.0, scorer.weight)
            total += np.nan_to_num(values) * scorer.weight
    return np.where(weights > 0, total / np.where(weights > 0, weights, 1.0), np.nan)


def load(conn: Connection, run_id: int, config: RunConfig) -> CalibrationScores:
    """Read the calibration scores that a run goes by, its own or its router's, and combine them as it says."""
    prompts = conn.execute(_PROMPTS, {"run_id": run_id}).all()
    row_of = {prompt.prompt_id: row for row, prompt in enumerate(prompts)}
    shape = len(prompts), len(config.teachers)
    scores = [Scores.empty(scorer, shape) for scorer in scorers(conn, run_id)]
    of = {scorer.scorer_id: scorer for scorer in scores}
    for score in conn.execute(_SCORES, {"run_id": run_id}):
        place = row_of[score.prompt_id], score.position
        of[score.scorer_id].values[place] = score.value
        of[score.scorer_id].losses[place] = np.nan if score.loss is None else score.loss
    validation = np.array([prompt.split == "validation" for prompt in prompts], dtype=bool)
    return CalibrationScores(
        prompt_ids=[prompt.prompt_id for prompt in prompts],
        messages=[prompt.messages for prompt in prompts],
        train=np.flatnonzero(~validation),
        validation=np.flatnonzero(validation),
        **combined(scores, config, shape)._asdict(),
        scores=scores,
    )


def scorers(conn: Connection, run_id: int) -> list[WeighedScorer]:
    """The run's scorers, in the order in which scores are combined."""
    return [WeighedScorer(*row) for row in conn.execute(_SCORERS, {"run_id": run_id})]


def combined(scores: Sequence[Scores], config: RunConfig, shape: tuple[int, ...]) -> Combined:
    """Combine raw values, each of this shape (P, M), as the configuration says."""
    by_kind = {
        kind: [(scorer.among_answers(), scorer.weight) for scorer in scores if scorer.kind == kind]
        for kind in ("quality", "learnability")
    }
    # A run whose α is 0 may measure no learnability.
    quality, learnability = (
        weighted(of, how=config.normalisation) if of else np.full(shape, np.nan) for of in by_kind.values()
    )
    return Combined(quality, learnability, combine(quality, learnability, config.alpha, config.normalisation))
