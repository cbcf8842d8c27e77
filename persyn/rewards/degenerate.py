"""How many calibration prompts tell nothing, because all their scores are equal."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.rewards.combine import degenerate

Floats = NDArray[np.float64]


class Degenerate(NamedTuple):
    """Of `prompts` with a reward, those whose scores are all equal: in one score the other decides, in the reward
    nothing does and the router learns nothing from them."""

    prompts: int
    quality: int
    learnability: int
    reward: int


def count(quality: Floats, learnability: Floats, reward: Floats) -> Degenerate:
    """Of matrices (C, M), NaN where missing. Both scores are counted over the answers that have a reward."""
    known = ~np.isnan(reward)
    rows = known.any(axis=1)
    if not rows.any():
        return Degenerate(0, 0, 0, 0)
    found = [np.where(known, values, np.nan)[rows] for values in (quality, learnability, reward)]
    return Degenerate(int(rows.sum()), *(int(degenerate(values).sum()) for values in found))
