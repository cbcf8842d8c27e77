"""The rewards of several answers to one prompt: combined as those of a calibration prompt's teachers are."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from persyn.config import RunConfig
from persyn.rewards.matrix import Scores, WeighedScorer, combined


class RawScores(NamedTuple):
    """The measurements of one answer, by the scorers' ids."""

    values: Mapping[int, float]
    losses: Mapping[int, float] = {}  # of lark alone


def rewards(
    groups: Sequence[Sequence[RawScores]], scorers: Sequence[WeighedScorer], config: RunConfig
) -> list[list[float | None]]:
    """The combined reward of each answer of each prompt (a group); None where a score is missing."""
    shape = (len(groups), max((len(group) for group in groups), default=0))
    scores = [Scores.empty(scorer, shape) for scorer in scorers]
    for scorer in scores:
        for row, group in enumerate(groups):
            scorer.values[row, : len(group)] = [raw.values.get(scorer.scorer_id, np.nan) for raw in group]
            scorer.losses[row, : len(group)] = [raw.losses.get(scorer.scorer_id, np.nan) for raw in group]
    reward = combined(scores, config, shape).reward
    return [
        [None if np.isnan(value) else float(value) for value in reward[row, : len(group)]]
        for row, group in enumerate(groups)
    ]
