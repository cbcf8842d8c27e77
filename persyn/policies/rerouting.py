"""The next teacher for a prompt whose answers so far are below the bar, and when to stop asking.

The calibration prompts, which every teacher answered, are the sample that decides. Each counts for a prompt by how
alike the router finds the two, and much less where one of the teachers that failed here was good there: so a teacher's
chance is the one that it had where the same others failed. The teacher with the highest expected improvement over the
best answer so far per price is asked next, and none is asked once no improvement is worth its price. Of an answer that
is right or wrong the improvement is the chance that it is right.

The stop is Weitzman's ("Optimal Search for the Best Alternative", Econometrica 47, 1979). His order is another one for
grades: it prefers the teacher with the highest possible quality, because all others can still be asked later. With a
few answers to a prompt there is no later.

A threshold turns quality into price: the least improvement that one unit of price must bring. `threshold_for` finds the
one that keeps the mean price of a prompt within a budget, so that the budget goes where it helps most.
"""

from collections.abc import Iterator
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
LEAST = 1e-6  # an improvement of less is none
CHUNK = 256  # prompts at once, so that memory stays flat
ROUNDING = 1e-9
MOST_LEVELS = 64  # of quality; a grade is known no better from some hundred prompts
TRIALS = 1000  # prompts of the sample on which a budget is tried


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
        weight = sample.weights(rule.bar, coefficients[rows], seen[rows], None if own is None else own[rows])
        gains = np.column_stack([_improvement(weight, levels, best[rows]) for levels in sample.levels])
        worth = np.where(asked[rows], -np.inf, gains / rule.price)
        choice, row = worth.argmax(axis=1), np.arange(len(rows))
        wanted = worth[row, choice] > max(rule.threshold, LEAST)
        teacher[rows] = np.where(wanted, choice, STOP)
        gain[rows] = np.where(wanted, gains[row, choice], 0.0)
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
    for rows, teacher, _ in _rounds(sample, rule, coefficients, known, first, own):
        seen[rows, teacher] = known[rows, teacher]
    return _replayed(sample, rule, seen)


def replay_in_order(sample: CalibrationSample, rule: Rule, quality: Floats, ranked: Indices) -> Replayed:
    """Ask each prompt's teachers in the order of ranked (P, A), until one is good enough: what the rule must beat."""
    known = np.where(np.isnan(quality), -np.inf, quality)
    seen = np.full(quality.shape, np.nan)
    rows = np.arange(len(quality))
    for teacher in ranked[:, : rule.attempts].T:
        seen[rows, teacher[rows]] = known[rows, teacher[rows]]
        rows = rows[seen[rows, teacher[rows]] < rule.bar]
    return _replayed(sample, rule, seen)


def threshold_for(sample: CalibrationSample, rule: Rule, first: Indices, budget: float) -> float:
    """The least threshold at which a prompt's mean price on the sample, with its standard error, is within the budget.

    first: (C,) the teacher that each prompt of the sample would be routed to. A budget that even the first answers
    exceed gives a threshold at which nothing more is asked. Without the standard error, every second budget would be
    exceeded.
    """
    own = np.arange(len(sample.quality))[:: -(-len(sample.quality) // TRIALS)]
    known = np.where(np.isnan(sample.quality), -np.inf, sample.quality)[own]
    # A threshold changes no choice; it ends a prompt at the first answer that is worth less. So one replay tells all.
    worth, spent, answers = np.full(len(own), np.inf), np.zeros(len(own)), []
    free = rule._replace(threshold=0.0)
    for rows, teacher, gain in _rounds(sample, free, sample.coefficients[own], known, first[own], own):
        price = rule.price[teacher]
        worth[rows] = np.minimum(worth[rows], gain / price)
        answers.append(np.column_stack([worth[rows], spent[rows], spent[rows] + price]))
        spent[rows] += price
    level, before, after = np.concatenate(answers).T
    order = np.argsort(-level, kind="stable")
    mean = np.cumsum((after - before)[order]) / len(own)  # of the price, with all answers down to each level
    variance = np.maximum(np.cumsum((after**2 - before**2)[order]) / len(own) - mean**2, 0.0)
    over = (mean + np.sqrt(variance / len(own)) > budget + ROUNDING)[len(own) - 1 :]  # from all first answers on
    if over[0]:  # no improvement is worth more than the whole range
        return float(np.nanmax(sample.quality) - sample.floor or 1.0) / float(rule.price.min())
    return float(level[order][len(own) - 1 + over.argmax()]) if over.any() else 0.0


def _replayed(sample: CalibrationSample, rule: Rule, seen: Floats) -> Replayed:
    """The outcome where these (P, M) answers were asked for."""
    asked = ~np.isnan(seen)
    teacher = np.where(asked, seen, -np.inf).argmax(axis=1)
    best = seen[np.arange(len(seen)), teacher]
    return Replayed(teacher, np.where(np.isfinite(best), best, sample.floor), asked, asked @ rule.price)


def _rounds(
    sample: CalibrationSample, rule: Rule, coefficients: Floats, known: Floats, first: Indices, own: Indices | None
) -> Iterator[tuple[Indices, Indices, Floats]]:
    """The prompts of each round of asking with their teachers and expected gains, the first answers' being infinite.

    known: (P, M) every answer's quality, -inf where none came.
    """
    seen = np.full(known.shape, np.nan)
    rows, teacher, gain = np.arange(len(known)), first, np.full(len(known), np.inf)
    while rows.size:
        yield rows, teacher, gain
        seen[rows, teacher] = known[rows, teacher]
        step = next_teachers(sample, rule, coefficients[rows], seen[rows], None if own is None else own[rows])
        going = step.teacher != STOP
        rows, teacher, gain = rows[going], step.teacher[going], step.gain[going]


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


def _improvement(weight: Floats, levels: Levels, best: Floats) -> Floats:
    """(P,) a teacher's expected improvement over the best answers under weights (P, C); 0 for one without a score."""
    if not levels.value.size:
        return np.zeros(len(weight))
    heavy = weight @ levels.member
    gains = np.maximum(levels.value - best[:, None], 0.0)
    return np.asarray((heavy * gains).sum(axis=1) / heavy.sum(axis=1))
