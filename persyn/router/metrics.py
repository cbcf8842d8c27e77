"""How well coefficients choose among teachers whose rewards are known, and what one fixed teacher would have got.

Coefficients and rewards are (P, M); a reward that is missing is NaN, and its teacher cannot be chosen on that prompt.
Prompts with fewer than two rewards offer no choice and are left out. Of equal coefficients the first is chosen.
A measure over no prompts is None, which JSON can hold and NaN cannot.
"""

import numpy as np
from numpy.typing import NDArray

from persyn.preferences.pairs import pairs

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
    """The mean of what the oracle's choice would have got on top."""
    offered, known = _choices(coefficients, rewards)
    return _mean(np.nanmax(known, axis=1, initial=-np.inf) - _chosen(offered, known))


def pairwise_accuracy(coefficients: Floats, rewards: Floats) -> float | None:
    """The share of preferences whose winner has the higher coefficient; equal coefficients count one half."""
    preferred = pairs(rewards)
    lead = coefficients[preferred.prompt, preferred.winner] - coefficients[preferred.prompt, preferred.loser]
    return _mean((np.sign(lead) + 1) / 2)


def evaluate(coefficients: Floats, rewards: Floats, *, static: Floats) -> dict[str, float | None]:
    """All measures of the router, and with the prefix `static_` those of the fixed coefficients `static` (M,).

    `static` must come from the training prompts: it is the best that can be done without looking at the prompt.
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
