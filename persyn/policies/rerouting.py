"""The next teacher for a prompt whose answers so far are below the bar, and when to stop asking.

The calibration prompts, which every teacher answered, are the sample that decides. Each counts for a prompt by how
alike the router finds the two, and much less where one of the teachers that failed here was good there: so a teacher's
chance is the one that it had where the same others failed. Asking a teacher is then opening one of Weitzman's boxes
("Optimal Search for the Best Alternative", Econometrica 47, 1979): its reservation value is the quality at which its
expected improvement is worth no more than its price, the highest one is asked next, and none is asked once the best
answer so far exceeds them all. For an answer that is right or wrong this is the teacher with the best chance per price.

A threshold turns quality into price: the least improvement that one unit of price must bring. `threshold_for` finds the
one that keeps the mean price of a prompt within a budget, so that the budget goes where it helps most.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

WIDTH = 0.5  # of the neighbourhood, in the coefficients' spread between prompts
LEAST_SPREAD = 0.1  # log-odds; a router that knows nothing of the prompts has next to none
UNLIKE = 0.02  # the weight of a calibration prompt for each teacher that was good there and failed here
FAR = 40.0  # calibration prompts' worth of those that failed alike, wherever they lie
ANY = 10.0  # and of all calibration prompts
STOP = -1  # no further teacher
LEAST = 1e-6  # a threshold of 0 would find every teacher with any chance equally good
CHUNK = 256  # prompts at once, so that memory stays flat
HALVINGS = 12
MOST_LEVELS = 64  # of quality; a grade is known no better from some hundred prompts
TRIALS = 300  # prompts of the sample on which a budget is tried


class CalibrationSample:
    """The calibration prompts with all that was measured on them.

    coefficients: (C, M), by a router that never saw the prompt. quality: (C, M) raw, NaN where missing.
    """

    def __init__(self, coefficients: Floats, quality: Floats) -> None:
        self.coefficients, self.quality = coefficients, quality
        self.floor = float(np.nanmin(quality))
        self.spread = max(float(coefficients.std(axis=0).mean()), LEAST_SPREAD)
        self.levels = [_levels(column) for column in quality.T]

    def weights(self, bar: float, coefficients: Floats, seen: Floats, own: Indices | None) -> Floats:
        """(P, C): what each calibration prompt counts for each prompt."""
        failed = (seen < bar).astype(np.float64)  # NaN compares as false: not asked
        alike = UNLIKE ** (failed @ (self.quality >= bar).T.astype(np.float64))
        apart = _squared_distances(coefficients, self.coefficients) / coefficients.shape[1]
        near = alike * np.exp(-0.5 * apart / (WIDTH * self.spread) ** 2)
        wider = alike + ANY / len(self.quality)
        weight = near + FAR * wider / wider.sum(axis=1, keepdims=True)
        if own is not None:
            weight[np.arange(len(own)), own] = 0.0
        return np.asarray(weight)


class Levels(NamedTuple):
    """A teacher's qualities on the calibration prompts as few values, highest first."""

    value: Floats  # (U,)
    member: Floats  # (C, U) 1 where the prompt has this value; a row of 0 where it has none


class Rule(NamedTuple):
    """The quality that is good enough, and the price that asking for it may have."""

    bar: float  # an answer of this quality is good enough
    price: Floats  # (M,) of an answer, above 0
    attempts: int  # the most answers to a prompt
    threshold: float = 0.0  # the least improvement of quality that one unit of price must bring


class Step(NamedTuple):
    """The decision about each of P prompts."""

    teacher: Indices  # (P,), STOP where no further one is asked
    gain: Floats  # (P,) the expected improvement over the best answer so far, 0 where none is asked


class Replayed(NamedTuple):
    """The outcome of a rule on P prompts whose every answer is known."""

    teacher: Indices  # (P,) whose answer is the best
    quality: Floats  # (P,) of that answer; the sample's lowest where no answer came
    asked: NDArray[np.bool_]  # (P, M)
    price: Floats  # (P,)


def next_teachers(
    sample: CalibrationSample, rule: Rule, coefficients: Floats, seen: Floats, own: Indices | None = None
) -> Step:
    """The teacher to ask next for each prompt, for coefficients (P, M) and seen (P, M).

    seen: raw quality, NaN where the teacher was not asked, -inf where its answer never came. own: (P,) the prompts'
    places in the sample, so that none is its own evidence.
    """
    teacher = np.full(len(seen), STOP, dtype=np.intp)
    gain = np.zeros(len(seen))
    asked = ~np.isnan(seen)
    best = _best(sample, seen)
    open_ = (asked.sum(axis=1) < rule.attempts) & ~asked.all(axis=1) & ~(best >= rule.bar)
    for rows in np.array_split(np.flatnonzero(open_), max(1, -(-int(open_.sum()) // CHUNK))):
        if not rows.size:
            continue
        weight = sample.weights(rule.bar, coefficients[rows], seen[rows], None if own is None else own[rows])
        prices = max(rule.threshold, LEAST) * rule.price
        value = np.column_stack([_reservation(weight, *each) for each in zip(sample.levels, prices, strict=True)])
        value[asked[rows]] = -np.inf
        choice = value.argmax(axis=1)
        worth = value[np.arange(len(rows)), choice] > best[rows]
        teacher[rows[worth]] = choice[worth]
        gain[rows] = _improvement(weight, sample.levels, choice, best[rows]) * worth
    return Step(teacher, gain)


def replay(
    sample: CalibrationSample,
    rule: Rule,
    coefficients: Floats,
    quality: Floats,
    first: Indices,
    own: Indices | None = None,
) -> Replayed:
    """Ask as the rule says, beginning with first (P,), where quality (P, M) holds every answer's; NaN is a failure."""
    known = np.where(np.isnan(quality), -np.inf, quality)
    seen = np.full(quality.shape, np.nan)
    rows, teacher = np.arange(len(quality)), first
    while rows.size:
        seen[rows, teacher] = known[rows, teacher]
        step = next_teachers(sample, rule, coefficients[rows], seen[rows], None if own is None else own[rows])
        going = step.teacher != STOP
        rows, teacher = rows[going], step.teacher[going]
    asked = ~np.isnan(seen)
    teacher = np.where(asked, seen, -np.inf).argmax(axis=1)
    best = seen[np.arange(len(seen)), teacher]
    return Replayed(teacher, np.where(np.isfinite(best), best, sample.floor), asked, asked @ rule.price)


def threshold_for(sample: CalibrationSample, rule: Rule, first: Indices, budget: float) -> float:
    """The least threshold at which a prompt's mean price on the sample stays within the budget.

    first: (C,) the teacher that each prompt of the sample would be routed to. A budget that even the first answers
    exceed gives a threshold at which nothing more is asked.
    """
    own = np.arange(len(sample.quality))[:: -(-len(sample.quality) // TRIALS)]

    def spent(threshold: float) -> float:
        trial, held = rule._replace(threshold=threshold), (sample.coefficients[own], sample.quality[own])
        return float(replay(sample, trial, *held, first[own], own).price.mean())

    if spent(0.0) <= budget:
        return 0.0
    spread = float(np.nanmax(sample.quality) - np.nanmin(sample.quality)) or 1.0
    low, high = 0.0, spread / float(rule.price.min())  # no improvement is worth more than the whole range
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= budget else (middle, high)
    return high


def _best(sample: CalibrationSample, seen: Floats) -> Floats:
    """(P,) the best quality seen, no lower than the lowest of the sample, so that an improvement is finite."""
    return np.asarray(np.maximum(np.where(np.isnan(seen), -np.inf, seen).max(axis=1), sample.floor))


def _levels(quality: Floats) -> Levels:
    """The values of (C,), or where they are many the means of as many equal shares of them."""
    there = ~np.isnan(quality)
    values, place = np.unique(-quality[there], return_inverse=True)
    if len(values) > MOST_LEVELS:
        place = np.argsort(np.argsort(-quality[there], kind="stable")) * MOST_LEVELS // int(there.sum())
        values = np.bincount(place, -quality[there]) / np.bincount(place)
    member = np.zeros((len(quality), len(values)))
    member[np.flatnonzero(there), place] = 1.0
    return Levels(-values, member)


def _squared_distances(left: Floats, right: Floats) -> Floats:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2.0 * left @ right.T
    return np.asarray(np.maximum(squares, 0.0))


def _reservation(weight: Floats, levels: Levels, price: float) -> Floats:
    """(P,) the value σ with E(quality − σ)⁺ = price under weights (P, C); -inf for a teacher without a score.

    E(quality − σ)⁺ falls piecewise linearly, with its corners at the values of quality.
    """
    if not levels.value.size:
        return np.full(len(weight), -np.inf)
    heavy = weight @ levels.member
    total = heavy.sum(axis=1, keepdims=True)
    above = np.cumsum(heavy, axis=1) / total  # the share of the weight at this value or higher
    worth = np.cumsum(heavy * levels.value, axis=1) / total
    # With σ between the k-th and the next value, E(quality − σ)⁺ is worth_k − σ·above_k.
    at_next = worth - above * np.append(levels.value[1:], -np.inf)
    piece = (at_next >= price).argmax(axis=1)
    row = np.arange(len(weight))
    return np.asarray((worth[row, piece] - price) / above[row, piece])


def _improvement(weight: Floats, levels: list[Levels], choice: Indices, best: Floats) -> Floats:
    """(P,) the expected improvement of each prompt's chosen teacher over its best answer."""
    gain = np.zeros(len(choice))
    for teacher in np.unique(choice):
        rows = np.flatnonzero(choice == teacher)
        heavy = weight[rows] @ levels[teacher].member
        gains = np.maximum(levels[teacher].value - best[rows, None], 0.0)
        gain[rows] = (heavy * gains).sum(axis=1) / heavy.sum(axis=1)
    return gain
