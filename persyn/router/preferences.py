"""Turns rewards into preferences: of every two teachers on a prompt, the one with the higher reward is preferred.

Small differences are often noise of the measure. Therefore a margin can call them ties, ties can be left out or count
half for each teacher, and a pair can weigh as much as its rewards differ. With that weight the router's loss stays
close to the reward that a wrong choice loses.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """All pairs i < j of M teachers on P prompts, in the order of `numpy.triu_indices`: K = M(M-1)/2 of them.

    target: (P, K), 1 where the first teacher is preferred, 0 where the second is, 0.5 where neither is.
    weight: (P, K), 0 where the pair does not count: a missing reward, or a tie that is left out.
    """

    target: Floats
    weight: Floats
    preferences: int
    ties: int
    missing: int

    def counts(self) -> dict[str, float]:
        return {"preferences": float(self.preferences), "ties": float(self.ties), "missing": float(self.missing)}


def pairs(
    rewards: Floats,
    *,
    ties: Literal["skip", "half"] = "skip",
    margin: float = 0.0,
    weight: Literal["margin", "none"] = "none",
) -> Pairs:
    """The pairs of rewards (P, M), where NaN is a missing reward.

    Rewards that differ by no more than `margin` tie. Under the weight `margin` a preference weighs |Δr|, and a tie
    weighs as much as a preference does on average, because |Δr| would give it no weight.
    """
    first, second = np.triu_indices(rewards.shape[1], k=1)
    gap = rewards[:, first] - rewards[:, second]
    known, size = ~np.isnan(gap), np.abs(np.nan_to_num(gap))
    preferred, tied = known & (size > margin), known & (size <= margin)
    counted = size if weight == "margin" else np.ones_like(size)
    tie_weight = counted[preferred].mean() if preferred.any() else 1.0
    return Pairs(
        target=np.where(preferred, (np.nan_to_num(gap) > 0).astype(np.float64), 0.5),
        weight=np.where(preferred, counted, 0.0) + (tie_weight * tied if ties == "half" else 0.0),
        preferences=int(preferred.sum()),
        ties=int(tied.sum()),
        missing=int((~known).sum()),
    )


def join(first: Pairs, second: Pairs) -> Pairs:
    """The pairs of both, the prompts of the first before those of the second."""
    return Pairs(
        np.vstack([first.target, second.target]),
        np.vstack([first.weight, second.weight]),
        first.preferences + second.preferences,
        first.ties + second.ties,
        first.missing + second.missing,
    )


def typical_gap(rewards: Floats) -> float:
    """The mean difference between two teachers that differ on a prompt of (P, M); 1 where none do."""
    first, second = np.triu_indices(rewards.shape[1], k=1)
    apart = np.abs(rewards[:, first] - rewards[:, second])
    apart = apart[apart > 0]
    return float(apart.mean()) if apart.size else 1.0


def incidence(teachers: int) -> Floats:
    """(K, M): the vectors z, +1 at a pair's first teacher and -1 at its second."""
    first, second = np.triu_indices(teachers, k=1)
    z = np.zeros((len(first), teachers))
    z[np.arange(len(first)), first], z[np.arange(len(first)), second] = 1.0, -1.0
    return z
