"""The best coefficients for a router that does not look at the prompt: Bradley-Terry strengths over all preferences.

A router starts from them (see `train`), so they are also the baseline that it must beat.
"""

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5  # wins each teacher is given over each other: a teacher that never loses stays finite


def preferred(rewards: NDArray[np.float64]) -> NDArray[np.int64]:
    """(M, M): on how many of the prompts in rewards (P, M) the row's teacher is preferred to the column's."""
    return np.asarray((rewards[:, :, None] > rewards[:, None, :]).sum(axis=0))


def strengths(rewards: NDArray[np.float64], *, iterations: int = 10_000) -> NDArray[np.float64]:
    """(M,) log-strengths with mean 0: σ(s_i - s_j) fits how often i is preferred to j in rewards (P, M).

    Newman's iteration (JMLR 24:238, 2023), which climbs to the one maximum of the likelihood.
    """
    teachers = rewards.shape[1]
    wins = preferred(rewards) + PRIOR * (1.0 - np.eye(teachers))
    strength = np.ones(teachers)
    for _ in range(iterations):
        before = strength.copy()
        for teacher in range(teachers):  # one after the other: all at once, two teachers would only swap
            rivals = strength[teacher] + strength
            won, lost = wins[teacher] * strength / rivals, wins[:, teacher] / rivals
            strength[teacher] = won.sum() / lost.sum()
        strength /= np.exp(np.log(strength).mean())
        if np.allclose(strength, before, rtol=1e-12, atol=0.0):
            break
    return np.asarray(np.log(strength))
