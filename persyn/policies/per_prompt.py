"""The routing policies: the paper's router and the baselines that it is compared with.

All but two are functions of the prompt alone (and of the calibration scores), never of the batch or of the prompts'
order: two workers that route the same prompt decide the same. The two read the whole set: `budgeted` (in `budgeted`),
because all prompts share a capacity, and `oracle`, because it needs every answer.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.config import RunConfig
from persyn.errors import JobFailed, ModelError

Floats = NDArray[np.float64]


class Choice(NamedTuple):
    """For each prompt (P,) the chosen teacher's index, and its lead over the best other teacher.

    The lead is in coefficients (measured rewards under `oracle`). It is below 0 where a budget or a draw chose another
    teacher than the highest, and NaN under a policy that compares nothing on the prompt, or where there is no other
    teacher.
    """

    teacher_index: NDArray[np.intp]
    margin: Floats


def highest(coefficients: Floats) -> Choice:
    """`persyn`: the teacher of the highest coefficient in each row of (P, M), the first of equals.

    Raises ModelError if a coefficient is not finite.
    """
    if not np.isfinite(coefficients).all():
        raise ModelError("The router gave a coefficient that is not finite. Train it again, at a lower learning rate.")
    return with_margin(coefficients, coefficients.argmax(axis=1))


def best_measured(reward: Floats) -> Choice:
    """`oracle`: the teacher of the highest reward in each row of (P, M), NaN where missing, the first of equals.

    Each row must hold one reward at least.
    """
    known = np.where(np.isnan(reward), -np.inf, reward)
    return with_margin(known, known.argmax(axis=1))


def one_for_all(teacher: int, prompts: int) -> Choice:
    """`strong`, `family_strong` and `car`: one teacher for the whole set."""
    return Choice(np.full(prompts, teacher, dtype=np.intp), np.full(prompts, np.nan))


def uniform(teachers: int, seed: int, prompt_keys: Sequence[str]) -> Choice:
    """`random`: each teacher with the same chance. prompt_keys: (P,) one stable name per prompt, such as its sha256."""
    index = np.array([_draw(f"{seed}:{key}") % teachers for key in prompt_keys], dtype=np.intp)
    return Choice(index, np.full(len(index), np.nan))


def mix(strong: int, weak: int, share: float, seed: int, prompt_keys: Sequence[str]) -> Choice:
    """`mix`: each prompt to the strong teacher with the chance `share`, else to the weak one."""
    limit = share * 2.0**64
    index = np.array([strong if _draw(f"{seed}:mix:{key}") < limit else weak for key in prompt_keys], dtype=np.intp)
    return Choice(index, np.full(len(index), np.nan))


class Exploration(NamedTuple):
    """A choice of which a share was drawn at random. All (P,)."""

    choice: Choice
    drawn: NDArray[np.bool_]  # whether the prompt was drawn, whichever teacher it then got
    probability: Floats  # with which its teacher was chosen, by the draw and without it


def explore(
    coefficients: Floats, share: float, can_be_asked: Sequence[int], seed: int, prompt_keys: Sequence[str]
) -> Exploration:
    """`highest`, but each prompt goes with the chance `share` to any of the teachers `can_be_asked`, all alike.

    The probability is share / K, with K of them, and 1 - share more for the teacher of the highest coefficient. So a
    mean over prompts, each divided by its probability, tells what another policy would have got (Horvitz and Thompson
    1952). prompt_keys: as in `uniform`.
    """
    best = highest(coefficients).teacher_index
    limit = share * 2.0**64
    drawn = np.array([_draw(f"{seed}:explore:{key}") < limit for key in prompt_keys], dtype=bool)
    place = [_draw(f"{seed}:explored:{key}") % len(can_be_asked) for key in prompt_keys]
    index = np.where(drawn, np.array(can_be_asked, dtype=np.intp)[place], best)
    probability = np.isin(index, can_be_asked) * share / len(can_be_asked) + (index == best) * (1.0 - share)
    return Exploration(with_margin(coefficients, index), drawn, probability)


def strongest(quality: Floats, params_b: Sequence[float], among: Collection[int] | None = None) -> int:
    """The teacher with the highest mean quality; of equals the larger, then the first.

    quality: (C, M) raw, NaN where missing; params_b: (M,) sizes; among: the teachers that may be chosen, all if None.
    A teacher without a single score comes last.
    """
    mean = column_means_or_nan(quality)
    candidates = range(len(params_b)) if among is None else among
    return max(candidates, key=lambda teacher: (np.nan_to_num(mean[teacher], nan=-np.inf), params_b[teacher], -teacher))


def weakest(quality: Floats, params_b: Sequence[float]) -> int:
    """The teacher with the lowest mean quality; of equals the smaller, then the last.

    A teacher without a single score is not known to be weak and comes last.
    """
    mean = column_means_or_nan(quality)
    candidates = range(len(params_b))
    return min(candidates, key=lambda teacher: (np.nan_to_num(mean[teacher], nan=np.inf), params_b[teacher], -teacher))


def compatibility_adjusted(quality: Floats, loss: Floats, beta: float) -> Floats:
    """(M,) the Compatibility-Adjusted Reward of arXiv 2411.07133: mean quality / (1 + β · mean loss).

    quality, loss: (C, M), NaN where missing; the loss is the student's mean negative log-likelihood in nats a token.
    NaN for a teacher that lacks either. Raises ValueError where a mean quality is negative: a larger loss would then
    raise the reward instead of lowering it.
    """
    mean = column_means_or_nan(quality)
    if (mean < 0).any():
        raise ValueError("mean quality is negative")
    return np.asarray(mean / (1.0 + beta * column_means_or_nan(loss)))


def column_means_or_nan(values: Floats) -> Floats:
    """(M,) the mean of each column of (C, M), NaN where missing; NaN for a column without a value.

    `router.neighbours.column_means` gives such a column the lowest value instead. A policy must know that it is
    missing, because an unmeasured teacher is neither the strongest nor the weakest.
    """
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def with_margin(coefficients: Floats, index: NDArray[np.intp]) -> Choice:
    """A choice, and its lead over the best other teacher; -inf marks a teacher that cannot be compared."""
    rows = np.arange(len(index))
    others = coefficients.copy()
    others[rows, index] = -np.inf
    rival = others.max(axis=1, initial=-np.inf)
    return Choice(index, np.where(np.isfinite(rival), coefficients[rows, index] - rival, np.nan))


def _draw(name: str) -> int:
    """A number below 2^64 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


Chooser = Callable[[Sequence[str]], Choice]


def chooser(config: RunConfig, quality: Floats, learnability: Floats) -> Chooser:
    """A function from prompts' keys (P,) to their teachers, for a policy without a router.

    quality, learnability: (C, M) raw, NaN where missing. Raises JobFailed where the policy cannot decide from them.
    """
    options = config.policy_options
    sizes = [teacher.params_b or 0.0 for teacher in config.teachers]
    if config.policy == "random":
        return lambda keys: uniform(len(sizes), config.seed, keys)
    if config.policy == "mix":
        names = [teacher.name for teacher in config.teachers]
        strong = names.index(options.strong) if options.strong else strongest(quality, sizes)
        weak = names.index(options.weak) if options.weak else weakest(quality, sizes)
        return lambda keys: mix(strong, weak, options.strong_share, config.seed, keys)
    if config.policy == "car":
        teacher = _most_compatible(quality, learnability, options.beta)
    else:
        among = config.own_family() if config.policy == "family_strong" else None
        teacher = strongest(quality, sizes, among)
    return lambda keys: one_for_all(teacher, len(keys))


def _most_compatible(quality: Floats, learnability: Floats, beta: float) -> int:
    """`car`: the teacher of the highest compatibility-adjusted reward. Raises JobFailed where there is none."""

    try:
        rewards = compatibility_adjusted(quality, -learnability, beta)
    except ValueError:
        message = (
            "the policy car divides a teacher's mean quality by its loss, and a mean quality here is below 0;"
            " use a quality scorer that is never negative, or another policy"
        )
        raise JobFailed("negative_quality", message, permanent=True) from None
    if np.isnan(rewards).all():
        message = "no teacher has both quality and learnability on the calibration set; audit.failures says what failed"
        raise JobFailed("not_measured", message, permanent=True)
    return int(np.nanargmax(rewards))
