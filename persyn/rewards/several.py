"""The rewards of several answers to one prompt: combined as those of a calibration prompt's teachers are."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from persyn.config import RunConfig
from persyn.rewards.matrix import Scores, WeighedScorer, combined, raw_mean


class RawScores(NamedTuple):
    """The measurements of one answer, by the scorers' ids."""

    values: Mapping[int, float]
    losses: Mapping[int, float] = {}  # of lark alone


class Standing(NamedTuple):
    """One answer among those to its prompt; None where a score is missing."""

    learnability: float | None  # of several measures the weighted mean, before they are normalised
    reward: float | None


def standings(
    groups: Sequence[Sequence[RawScores]], scorers: Sequence[WeighedScorer], config: RunConfig
) -> list[list[Standing]]:
    """The learnability and the combined reward of each answer of each prompt (a group)."""
    shape = (len(groups), max((len(group) for group in groups), default=0))
    scores = [Scores.empty(scorer, shape) for scorer in scorers]
    for scorer in scores:
        for row, group in enumerate(groups):
            scorer.values[row, : len(group)] = [raw.values.get(scorer.scorer_id, np.nan) for raw in group]
            scorer.losses[row, : len(group)] = [raw.losses.get(scorer.scorer_id, np.nan) for raw in group]
    learnability, reward = raw_mean(scores, "learnability", shape), combined(scores, config, shape).reward
    return [
        [Standing(_known(learnability[row, place]), _known(reward[row, place])) for place in range(len(group))]
        for row, group in enumerate(groups)
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
