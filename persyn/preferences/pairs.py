"""Rewards into preferences: on each prompt, of every two teachers, the one with the higher reward is preferred."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pairs(NamedTuple):
    """Three arrays of equal length, in the order of the prompts, and what was left out.

    A tie prefers neither teacher and is no preference; a pair with a missing reward is unknown.
    """

    prompt: NDArray[np.intp]
    winner: NDArray[np.intp]
    loser: NDArray[np.intp]
    ties: int
    missing: int


def pairs(rewards: NDArray[np.float64]) -> Pairs:
    """All preferences in rewards (P, M), with NaN for a missing reward: at most P·M(M-1)/2 of them."""
    first, second = np.triu_indices(rewards.shape[1], k=1)
    left, right = rewards[:, first], rewards[:, second]
    prompt, pair = np.nonzero((left > right) | (left < right))
    first_wins = left[prompt, pair] > right[prompt, pair]
    return Pairs(
        prompt=prompt,
        winner=np.where(first_wins, first[pair], second[pair]),
        loser=np.where(first_wins, second[pair], first[pair]),
        ties=int((left == right).sum()),
        missing=int((np.isnan(left) | np.isnan(right)).sum()),
    )
