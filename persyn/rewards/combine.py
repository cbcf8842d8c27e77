"""Combines quality and learnability into one reward: r = (1-α)·r_q + α·r_l, both normalised within the prompt first.

Scores are stored raw and normalised at reading, so that another α needs the same scores and no new run.
The paper does not say how it normalises; the choices are here, and `docs/method.md` gives the reasons.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Normalisation = Literal["minmax", "zscore", "rank"]
Rewards = NDArray[np.float64]


def normalise(values: ArrayLike, how: Normalisation) -> Rewards:
    """Put each prompt's scores, a row of (P, M), on a common scale; a score that is not finite becomes NaN.

    `minmax`: onto [0, 1]. `zscore`: mean 0, population deviation 1. `rank`: 0 for the worst to 1 for the best, and ties
    share their mean rank. A row whose scores are all equal tells nothing about its teachers and becomes 0.5 throughout
    (`zscore`: 0); `is_degenerate` finds such rows.
    """
    present = _present(values)
    flat = is_degenerate(present)
    if how == "rank":
        result = _ranks(present)
    else:
        low, high = _extent(present)
        with np.errstate(invalid="ignore"):
            result = (present - low) / np.where(high > low, high - low, 1.0)
        if how == "zscore":
            result = _standardise(result)
    result[flat] = np.where(np.isnan(present[flat]), np.nan, 0.0 if how == "zscore" else 0.5)
    return result


def is_degenerate(values: ArrayLike) -> NDArray[np.bool_]:
    """(P,) true for each prompt that has scores, all of them equal; a single score is equal to itself."""
    low, high = _extent(_present(values))
    return np.asarray(low == high).reshape(-1)


class DegenerateCounts(NamedTuple):
    """The prompts with a reward, and how many of them have only equal scores of each kind.

    Where one score is flat, the other decides. Where the reward is flat, the router learns nothing from the prompt.
    """

    prompts: int
    quality: int
    learnability: int
    reward: int


def count_degenerate(quality: Rewards, learnability: Rewards, reward: Rewards) -> DegenerateCounts:
    """Count in matrices (C, M), NaN where missing. Both scores are counted over the answers that have a reward."""
    known = ~np.isnan(reward)
    rows = known.any(axis=1)
    if not rows.any():
        return DegenerateCounts(0, 0, 0, 0)
    kinds = [np.where(known, values, np.nan)[rows] for values in (quality, learnability, reward)]
    return DegenerateCounts(int(rows.sum()), *(int(is_degenerate(values).sum()) for values in kinds))


def combine(quality: ArrayLike, learnability: ArrayLike, alpha: float, how: Normalisation) -> Rewards:
    """The combined reward (P, M), from raw scores (P, M).

    A teacher that lacks one of the two scores on a prompt is NaN there and takes no part in its normalisation.
    A score whose weight is zero is not needed: α = 0 needs no learnability and α = 1 no quality.
    """
    q, learn = _present(quality), _present(learnability)
    if alpha == 0.0:
        return normalise(q, how)
    if alpha == 1.0:
        return normalise(learn, how)
    missing = np.isnan(q) | np.isnan(learn)
    q[missing] = learn[missing] = np.nan
    return (1.0 - alpha) * normalise(q, how) + alpha * normalise(learn, how)


def weighted(scores: Sequence[tuple[ArrayLike, float]], how: Normalisation) -> Rewards:
    """The weighted mean of the normalised values of several scorers of one kind, each (P, M) with its weight.

    A single scorer stays raw. A scorer of weight 0 takes no part; a teacher that lacks one of the others is NaN there.
    Raises ValueError where no weight is above 0.
    """
    counted = [(_present(values), weight) for values, weight in scores if weight > 0]
    if not counted:
        raise ValueError("one weight at least must be above 0")
    if len(counted) == 1:
        return counted[0][0]
    missing = np.logical_or.reduce([np.isnan(values) for values, _ in counted])
    total = sum(weight * normalise(np.where(missing, np.nan, values), how) for values, weight in counted)
    return np.asarray(total / sum(weight for _, weight in counted))


def lark_gain(ratio: ArrayLike, loss: ArrayLike) -> Rewards:
    """LARK's ĝ (arXiv 2605.30651) of each answer among those to its prompt, a row of (P, M), higher for easier.

    ĝ_k = (L_k / ΣL)·(2ρ_k - ΣρL / ΣL) from the answers' own ρ = B / L and L: ρ_k - ρ̄ says whose loss training lowers
    faster than the others', and L_k / ΣL how much loss there is to lower. An answer that stands alone has ĝ = ρ.
    0 where no answer has a loss; NaN for one without a score, which takes no part in the sums.
    """
    rho, each = _present(ratio), _present(loss)
    missing = np.isnan(rho) | np.isnan(each)
    rho[missing] = each[missing] = 0.0
    total = each.sum(axis=1, keepdims=True)
    share = each / np.where(total > 0, total, 1.0)
    gain = share * (2.0 * rho - (share * rho).sum(axis=1, keepdims=True))
    gain[missing] = np.nan
    return np.asarray(gain)


def _present(values: ArrayLike) -> Rewards:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"scores must be (prompts, teachers), got shape {array.shape}")
    array[~np.isfinite(array)] = np.nan
    return array


def _extent(values: Rewards) -> tuple[Rewards, Rewards]:
    """Each row's lowest and highest score, (P, 1); +inf and -inf where the row is empty."""
    missing = np.isnan(values)
    low = np.where(missing, np.inf, values).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(missing, -np.inf, values).max(axis=1, keepdims=True, initial=-np.inf)
    return low, high


def _standardise(values: Rewards) -> Rewards:
    """(P, M) z-scores of rows that are on [0, 1] already, where squares can neither overflow nor vanish."""

    present = ~np.isnan(values)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    centred = values - np.where(present, values, 0.0).sum(axis=1, keepdims=True) / count
    variance = np.where(present, centred**2, 0.0).sum(axis=1, keepdims=True) / count
    return np.asarray(centred / np.sqrt(np.where(variance > 0, variance, 1.0)))


def _ranks(values: Rewards) -> Rewards:
    present = ~np.isnan(values)
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    same = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    others = np.maximum(present.sum(axis=1, keepdims=True) - 1, 1)
    return np.where(present, (below + (same - 1) / 2) / others, np.nan)
