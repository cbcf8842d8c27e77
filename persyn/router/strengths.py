"""The best coefficients for a router that does not look at the prompt: Bradley-Terry strengths over all preferences.

A router starts from them (see `train`), so they are also the baseline that it must beat.
"""

import numpy as np
from numpy.typing import NDArray

from persyn.preferences.pairs import Pairs

PRIOR = 0.5  # wins each teacher is given over each other: a teacher that never loses stays finite


def strengths(preferences: Pairs, teachers: int, *, iterations: int = 10_000) -> NDArray[np.float64]:
    """(M,) log-strengths with mean 0: σ(s_i - s_j) fits how often i is preferred to j.

    Newman's iteration (JMLR 24:238, 2023), which climbs to the one maximum of the likelihood.
    """
    wins = np.full((teachers, teachers), PRIOR)
    np.fill_diagonal(wins, 0.0)
    np.add.at(wins, (preferences.winner, preferences.loser), 1.0)
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
