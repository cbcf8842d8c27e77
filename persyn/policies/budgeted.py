"""`budgeted`: the highest sum of coefficients within each teacher's budget.

A budget is a share of the routed prompts, a number of tokens or a cost. The teacher's mean answer on the calibration
set turns tokens and cost into a number of prompts, so that the problem is one of counts: it has a whole-numbered
optimum, and `assignment` finds it exactly. The assignment is therefore exact, and the cost is an estimate: the answers
may cost more or less than the calibration answers did on average.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.config import Budget
from persyn.errors import ConfigError, ModelError
from persyn.policies.assignment import assign
from persyn.policies.per_prompt import Choice, with_margin

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Usage(NamedTuple):
    """A teacher's mean tokens for a prompt, by its calibration answers; None where no answer has its tokens counted."""

    prompt_tokens: float | None
    completion_tokens: float | None


def assign_within(coefficients: Floats, capacity: Counts, prompt_keys: Sequence[str] | NDArray[np.bytes_]) -> Choice:
    """The best choice (P,) for coefficients (P, M) under capacities (M,) in prompts, whose sum must be at least P.

    The prompts' order does not matter: their keys decide between equal optima. Where no capacity binds, the result is
    that of `per_prompt.highest`. Raises ModelError if a coefficient is not finite.
    """
    if not np.isfinite(coefficients).all():
        raise ModelError("The router gave a coefficient that is not finite. Train it again, at a lower learning rate.")
    order = np.argsort(np.asarray(prompt_keys), kind="stable")
    index = np.empty(len(order), dtype=np.intp)
    index[order] = assign(coefficients[order], capacity)
    return with_margin(coefficients, index)


def capacities(teachers: Sequence[str], budgets: dict[str, Budget], usage: Sequence[Usage], prompts: int) -> Counts:
    """(M,) the number of `prompts` that each teacher may take; a teacher without a budget may take all of them.

    Numbers are rounded down. Where only the rounding keeps shares below the whole, they are topped up, the largest
    remainder first. Raises ConfigError where a budget cannot be counted, or where all together are too small.
    """
    limits = [_limit(name, budgets.get(name), used, prompts) for name, used in zip(teachers, usage, strict=True)]
    exact = np.minimum(np.array(limits), prompts)
    counts: Counts = np.floor(exact + 1e-9).astype(np.int64)
    short = prompts - int(counts.sum())
    if short > 0 and exact.sum() >= prompts - 1e-6:
        shared = [row for row, name in enumerate(teachers) if name in budgets and budgets[name].only_share]
        for row in sorted(shared, key=lambda row: counts[row] - exact[row])[:short]:
            counts[row] += 1
    if counts.sum() < prompts:
        raise ConfigError(
            f"policy_options.budget: the budgets allow {int(counts.sum())} prompts in all ({_shown(teachers, counts)}),"
            f" but {prompts} must be routed. Raise a budget, or leave one teacher without."
        )
    return counts


def _limit(name: str, budget: Budget | None, usage: Usage, prompts: int) -> float:
    """The tightest of a teacher's limits, in prompts and not yet rounded."""

    if budget is None:
        return float(prompts)
    limits = [float(prompts)]
    if budget.share is not None:
        limits.append(budget.share * prompts)
    if budget.tokens is not None:
        limits.append(_per(name, budget.tokens, usage.completion_tokens))
    if budget.cost is not None and budget.price is not None:
        answer = _known(name, usage.completion_tokens) * budget.price
        if budget.prompt_price:
            answer += _known(name, usage.prompt_tokens) * budget.prompt_price
        limits.append(_per(name, budget.cost * 1e6, answer))
    return min(limits)


def _per(name: str, whole: float, each: float | None) -> float:
    each = _known(name, each)
    return whole / each if each > 0 else np.inf


def _known(name: str, tokens: float | None) -> float:
    if tokens is None:
        raise ConfigError(
            f"policy_options.budget.{name}: no calibration answer of this teacher has its tokens counted, so tokens"
            " or a cost cannot be turned into prompts. Give it a share instead."
        )
    return tokens


def _shown(teachers: Sequence[str], counts: Counts) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(teachers, counts, strict=True))
