"""Measures of how well coefficients choose among teachers whose rewards are known.

Coefficients and rewards are (P, M). A missing reward is NaN, and its teacher cannot be chosen on that prompt.
Prompts with fewer than two rewards offer no choice and are left out. Of equal coefficients the first is chosen.
A measure over no prompts is None, because JSON can hold None but not NaN.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import DegenerateDataWarning

Floats = NDArray[np.float64]


def hit_at_k(coefficients: Floats, rewards: Floats, k: int) -> float | None:
    """The share of prompts where a teacher with the oracle's reward is among the k highest coefficients.

    Teachers that tie for the best reward are all the oracle's choice.
    """
    offered, known = _choices(coefficients, rewards)
    top = np.argsort(-offered, axis=1, kind="stable")[:, :k]
    best = np.nanmax(known, axis=1, keepdims=True, initial=-np.inf)
    return _mean((np.take_along_axis(known, top, axis=1) == best).any(axis=1))


def mean_reward(coefficients: Floats, rewards: Floats) -> float | None:
    """The mean reward of the teachers with the highest coefficient."""
    return _mean(_chosen(*_choices(coefficients, rewards)))


def regret(coefficients: Floats, rewards: Floats) -> float | None:
    """The mean reward that is lost against the oracle's choice."""
    offered, known = _choices(coefficients, rewards)
    return _mean(np.nanmax(known, axis=1, initial=-np.inf) - _chosen(offered, known))


def pairwise_accuracy(coefficients: Floats, rewards: Floats) -> float | None:
    """The share of preferences whose winner has the higher coefficient; equal coefficients count one half."""
    first, second = np.triu_indices(rewards.shape[1], k=1)
    gap = rewards[:, first] - rewards[:, second]
    lead = coefficients[:, first] - coefficients[:, second]
    agreement = (np.sign(gap) * np.sign(lead) + 1) / 2
    return _mean(agreement[(gap > 0) | (gap < 0)])


class Interval(NamedTuple):
    """A mean over prompts and its 95% bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: Floats, *, below: Floats | None = None, seed: int = 0, draws: int = 2000) -> Interval | None:
    """The mean of `values` (P,), or with `below` the ratio of both means, over prompts drawn with replacement.

    A paired difference is one value per prompt. None without values, or where the mean of `below` is 0.
    """
    under = np.ones_like(values) if below is None else below
    if not values.size or under.mean() == 0:
        return None
    mean = float(values.mean() / under.mean())
    if values.size == 1:
        return Interval(mean, mean, mean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of an interval over all draws; see `_ratio`
        drawn = stats.bootstrap(
            (values, under), _ratio, paired=True, vectorized=True, n_resamples=draws, batch=100, method="percentile",
            rng=seed,
        ).bootstrap_distribution  # fmt: skip
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


LEADS = (0.02, 0.03, 0.05)  # of reward, those that `prompts_needed` is shown for
_BOTH_TAILS, _POWER = 0.975, 0.80


def prompts_needed(differences: Floats, lead: float) -> int | None:
    """The prompts on which a mean difference of `lead` would be told from 0: ((z_.975 + z_.80)·sd / lead)², rounded up.

    That is at the level 5% and in 80% of the cases. differences: (P,) paired ones, whose deviation is taken for that of
    further prompts. None where they do not differ among themselves, because then they tell nothing of the noise.
    Source: the sample size of a paired comparison, as in Chow, Shao and Wang, "Sample Size Calculations in Clinical
    Research".
    """
    deviation = float(differences.std(ddof=1)) if differences.size > 1 else 0.0
    if deviation == 0.0:
        return None
    quantiles = float(stats.norm.ppf(_BOTH_TAILS) + stats.norm.ppf(_POWER))
    return int(np.ceil((quantiles * deviation / lead) ** 2))


def _ratio(upper: Floats, lower: Floats, axis: int) -> Floats:
    """The ratio of both means; NaN where the lower one is 0, so that the interval leaves this draw out."""
    below = lower.mean(axis)
    return np.where(below != 0, upper.mean(axis) / np.where(below != 0, below, 1.0), np.nan)


def chosen_reward(coefficients: Floats, rewards: Floats) -> Floats:
    """The reward of the highest coefficient on each prompt that offers a choice: one value per prompt."""
    return _chosen(*_choices(coefficients, rewards))


def shares(coefficients: Floats, rewards: Floats) -> Floats:
    """(M,) the share of the prompts that each teacher gets."""
    offered, known = _choices(coefficients, rewards)
    return np.asarray(np.bincount(offered.argmax(axis=1), minlength=known.shape[1]) / max(len(known), 1))


class Bin(NamedTuple):
    """Pairs with about the same predicted chance that the favourite wins, and the share that it won."""

    predicted: float
    observed: float
    pairs: int


def calibration(coefficients: Floats, rewards: Floats, bins: int = 10) -> tuple[list[Bin], float | None]:
    """The reliability of σ(zᵀπ) as a chance: bins of the favourite's chance from 0.5 to 1, and the expected error."""
    first, second = np.triu_indices(rewards.shape[1], k=1)
    gap = rewards[:, first] - rewards[:, second]
    lead = coefficients[:, first] - coefficients[:, second]
    counted = (gap > 0) | (gap < 0)
    chance = 1.0 / (1.0 + np.exp(-np.minimum(np.abs(lead[counted]), 50.0)))
    won = (np.sign(gap[counted]) * np.sign(lead[counted]) + 1) / 2
    bin_of = np.minimum(((chance - 0.5) * 2 * bins).astype(np.intp), bins - 1)
    filled = [
        Bin(float(chance[bin_of == number].mean()), float(won[bin_of == number].mean()), int((bin_of == number).sum()))
        for number in range(bins)
        if (bin_of == number).any()
    ]
    if not filled:
        return [], None
    return filled, sum(abs(part.predicted - part.observed) * part.pairs for part in filled) / len(chance)


def evaluate(coefficients: Floats, rewards: Floats, *, static: Floats) -> dict[str, float | None]:
    """All measures of the router, and with the prefix `static_` those of the fixed coefficients `static` (M,).

    `static` must come from the training prompts: it is the best choice that ignores the prompt.

    """
    fixed = np.broadcast_to(static, rewards.shape)
    measured = {f"static_{name}": value for name, value in _measure(fixed, rewards).items()}
    offered, known = _choices(rewards, rewards)
    return {
        "prompts": float(len(known)),
        "oracle_reward": _mean(_chosen(offered, known)),
        **_measure(coefficients, rewards),
        **measured,
    }


def _measure(coefficients: Floats, rewards: Floats) -> dict[str, float | None]:
    return {
        "hit_at_1": hit_at_k(coefficients, rewards, 1),
        "hit_at_3": hit_at_k(coefficients, rewards, 3),
        "regret": regret(coefficients, rewards),
        "mean_reward": mean_reward(coefficients, rewards),
        "pairwise_accuracy": pairwise_accuracy(coefficients, rewards),
    }


def _choices(coefficients: Floats, rewards: Floats) -> tuple[Floats, Floats]:
    """Coefficients (-inf where a teacher has no reward) and rewards of the prompts that offer a choice."""
    kept = (~np.isnan(rewards)).sum(axis=1) >= 2
    known = rewards[kept]
    return np.where(np.isnan(known), -np.inf, coefficients[kept]), known


def _chosen(offered: Floats, known: Floats) -> Floats:
    return np.asarray(known[np.arange(len(known)), offered.argmax(axis=1)])


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None
