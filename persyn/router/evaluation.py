"""Compares a router on prompts it never saw with everything else that could choose the teachers, and gives advice."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persyn.config import Preferences, Router
from persyn.router import head
from persyn.router.baselines import rival_coefficients
from persyn.router.metrics import (
    LEADS,
    Interval,
    bootstrap,
    calibration,
    chosen_reward,
    hit_at_k,
    pairwise_accuracy,
    prompts_needed,
    regret,
    shares,
)
from persyn.router.neighbours import column_means

Floats = NDArray[np.float64]

ADVICE = (
    "The router does not beat the static best on the validation prompts. More calibration prompts may help, or another"
    " backbone; if neither does, `policy: strong` is as good and needs no router."
)


def baselines(vectors: Floats, rewards: Floats, new: Floats, new_rewards: Floats, *, seed: int) -> dict[str, Floats]:
    """Coefficients (Q, M) of everything that the router is compared with; only `oracle` reads `new_rewards`.

    vectors, new: (P, D) and (Q, D) of the backbone alone, without the surface measures.
    """
    shape = new_rewards.shape
    return {
        "static": np.broadcast_to(column_means(rewards), shape),
        "random": np.random.default_rng(seed).random(shape),
        **rival_coefficients(vectors, rewards, new, seed=seed),
        "oracle": np.nan_to_num(new_rewards, nan=-1e9),
    }


def table(choices: Mapping[str, Floats], rewards: Floats, teachers: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Every measure of every way to choose, JSON-ready. `choices` must have `router`, `static` and `oracle`.

    `gap_recovered` is the share of the way from the static best's mean reward to the oracle's; `router_minus_*` are
    paired differences. Intervals are [mean, low, high], 95%, bootstrapped over prompts. `prompts_needed` says for
    some leads of the router over the static best how many validation prompts would tell each from noise.
    """
    reward = {name: chosen_reward(values, rewards) for name, values in choices.items()}
    gap = reward["oracle"] - reward["static"]
    methods = {}
    for name, values in choices.items():
        methods[name] = {
            "mean_reward": _plain(bootstrap(reward[name], seed=seed)),
            "gap_recovered": _plain(bootstrap(reward[name] - reward["static"], below=gap, seed=seed)),
            "hit_at_1": hit_at_k(values, rewards, 1),
            "hit_at_3": hit_at_k(values, rewards, 3),
            "pairwise_accuracy": pairwise_accuracy(values, rewards),
            "regret": regret(values, rewards),
            "shares": dict(zip(teachers, shares(values, rewards).tolist(), strict=True)),
        }
    bins, error = calibration(choices["router"], rewards)
    differences = {
        f"router_minus_{name}": _plain(bootstrap(reward["router"] - values, seed=seed))
        for name, values in reward.items()
        if name != "router"
    }
    beats = bool(reward["router"].size and reward["router"].mean() > reward["static"].mean())
    return {
        "prompts": len(gap),
        "methods": methods,
        "differences": differences,
        "calibration": {"bins": [part._asdict() for part in bins], "expected_calibration_error": error},
        "prompts_needed": [
            {"lead": lead, "prompts": prompts_needed(reward["router"] - reward["static"], lead)} for lead in LEADS
        ],
        "beats_static": beats,
        "advice": None if beats else ADVICE,
    }


def curve_sizes(prompts: int, points: int = 6) -> list[int]:
    """The number of training prompts at each point of `curve`: doubling up to all of them."""
    return sorted({prompts // 2**halvings for halvings in range(points)} - {0, 1, 2, 3})


def curve(
    vectors: Floats, rewards: Floats, new: Floats, new_rewards: Floats, config: Router, preferences: Preferences,
    *, seed: int, on_point: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The router's mean reward after the first n of the shuffled training prompts, for each n of `curve_sizes`.

    Each head is chosen and fitted anew, on a frozen backbone's vectors. `on_point` gets each n when it is done.
    """
    order = np.random.default_rng(seed).permutation(len(vectors))
    result = []
    for size in curve_sizes(len(order)):
        part = np.sort(order[:size])  # in the training's own order, so that the last point is the router itself
        fitted = head.fit(vectors[part], rewards[part], config, preferences, seed=seed).head
        coefficients = fitted.coefficients(new)
        static = chosen_reward(np.broadcast_to(column_means(rewards[part]), new_rewards.shape), new_rewards)
        result.append({
            "prompts": size,
            "mean_reward": _plain(bootstrap(chosen_reward(coefficients, new_rewards), seed=seed)),
            "static_mean_reward": float(static.mean()) if static.size else None,
            "hit_at_1": hit_at_k(coefficients, new_rewards
, 1),
            "hit_at_3": hit_at_k(coefficients, new_rewards
, 3),
        })  # fmt: skip
        if on_point is not None:
            on_point(size)
    return result


def _plain(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
