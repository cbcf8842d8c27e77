"""The effect of α on a run's choices, from the stored scores: nothing is generated, scored or trained.

Every α is applied to the same answers, those that have both scores, so that only α explains a difference between two
rows. A tie for the highest reward counts in equal parts, because the order of the pool must not look like a preference.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.errors import ConfigError
from persyn.rewards.combine import Normalisation, combine, is_degenerate

Floats = NDArray[np.float64]

MOST = 1001  # points of one sweep


class Point(NamedTuple):
    """The best measured answers at one α."""

    alpha: float
    shares: list[float]  # (M,) of the prompts, by the teacher of the highest reward; together 1
    quality: float  # mean raw score of those answers
    learnability: float  # likewise
    ties: int  # prompts where several teachers have the highest reward


class Sweep(NamedTuple):
    points: list[Point]
    prompts: int  # with at least two answers that have both scores
    left_out: int  # prompts with fewer such answers
    flat_quality: int  # the part of `prompts` whose quality scores are all equal, so that learnability alone decides
    flat_learnability: int


def sweep(quality: Floats, learnability: Floats, alphas: Sequence[float], how: Normalisation) -> Sweep:
    """Apply each α to raw scores (C, M), NaN where missing. `points` is empty where no prompt offers a choice."""
    missing = np.isnan(quality) | np.isnan(learnability)
    kept = (~missing).sum(axis=1) >= 2
    q = np.where(missing, np.nan, quality)[kept]
    learn = np.where(missing, np.nan, learnability)[kept]
    return Sweep(
        points=[_point(q, learn, alpha, how) for alpha in alphas] if len(q) else [],
        prompts=len(q),
        left_out=len(quality) - len(q),
        flat_quality=int(is_degenerate(q).sum()) if len(q) else 0,
        flat_learnability=int(is_degenerate(learn).sum()) if len(q) else 0,
    )


def _point(quality: Floats, learnability: Floats, alpha: float, how: Normalisation) -> Point:
    reward = combine(quality, learnability, alpha, how)
    best = reward == np.nanmax(reward, axis=1, keepdims=True)
    weight = best / best.sum(axis=1, keepdims=True)
    return Point(
        alpha=alpha,
        shares=[float(share) for share in weight.mean(axis=0)],
        quality=float(np.where(best, quality * weight, 0.0).sum(axis=1).mean()),
        learnability=float(np.where(best, learnability * weight, 0.0).sum(axis=1).mean()),
        ties=int((best.sum(axis=1) > 1).sum()),
    )


def parse_alphas(given: str) -> list[float]:
    """`0:1:0.1` (from, to, step, both ends included), or `0,0.4,1`. Raises ConfigError."""
    wrong = ConfigError(
        f"--alpha: {given!r} is neither FROM:TO:STEP, such as 0:1:0.1, nor a list, such as 0,0.4,1,"
        f" of {MOST} values at most from 0 to 1."
    )
    parts = [part.strip() for part in re.split("[:,]", given)]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise wrong from None
    if ":" not in given:
        alphas = numbers
    elif "," in given or len(numbers) != 3 or not numbers[2] > 0 or not numbers[0] <= numbers[1]:
        raise wrong
    else:
        first, last, step = numbers
        if not (np.isfinite(numbers).all() and (last - first) / step < MOST):
            raise wrong
        count = int((last - first) / step + 1e-9) + 1
        alphas = [round(first + number * step, 10) for number in range(count)]
    if not all(0.0 <= alpha <= 1.0 for alpha in alphas) or len(alphas) > MOST:
        raise wrong
    return alphas
