"""Whether one policy's students do better than another's: differences with intervals, and what it takes to see one.

Results are (S, P): one value for each training seed and each problem, such as 1 where the answer is right. Two
trainings on the same rows differ too, and so do two sets of problems; a difference counts only where both sources of
luck leave it standing. So problems and seeds are resampled apart, as in a pigeonhole bootstrap (Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 1, 2007). With few seeds its interval is too narrow rather than too wide.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 4000
POWER_AND_LEVEL = 2.8  # standard errors: a difference of so many is seen in 80% of studies at the 5% level
MOST_SEEDS = 20


class Difference(NamedTuple):
    """The mean of one policy's students less that of another's; the interval is 95%, p two-sided."""

    mean: float
    low: float
    high: float
    p: float


class Effort(NamedTuple):
    """The size of a study that would see a difference in 80% of cases."""

    problems: int
    seeds: int


def difference(one: Floats, other: Floats, *, paired: bool, seed: int = 0) -> Difference:
    """The difference of `one` (S, P) and `other` (T, P) on the same problems, without NaN.

    paired: both have the same training seeds in the same order, which are then drawn together.
    """
    rng = np.random.default_rng(seed)
    problems = _drawn(rng, one.shape[1])
    left = _drawn(rng, len(one))
    right = left if paired else _drawn(rng, len(other))
    drawn = ((left @ one) * problems).sum(axis=1) - ((right @ other) * problems).sum(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    p = min(1.0, max(2.0 * tail, 2.0 / DRAWS))
    return Difference(float(one.mean() - other.mean()), float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being several (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    steps = [min(1.0, (len(p_values) - rank) * p_values[place]) for rank, place in enumerate(order)]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(steps)
    return [float(p) for p in adjusted]


class Variances(NamedTuple):
    """The sources of the luck in a difference; see `variances`."""

    seeds: float
    problems: float
    both: float  # of a seed on a problem

    def error(self, problems: float, seeds: float) -> float:
        """The standard error of a mean over so many."""
        return float(np.sqrt(self.seeds / seeds + self.problems / problems + self.both / (problems * seeds)))


def variances(differences: Floats) -> Variances | None:
    """The components of variance of (S, P) paired differences, by two-way analysis; None with one seed or problem."""
    seeds, problems = differences.shape
    if min(seeds, problems) < 2:
        return None
    by_seed, by_problem, mean = differences.mean(axis=1), differences.mean(axis=0), differences.mean()
    rest = differences - by_seed[:, None] - by_problem[None, :] + mean
    both = float((rest**2).sum() / ((seeds - 1) * (problems - 1)))
    return Variances(
        max(0.0, float(by_seed.var(ddof=1)) - both / problems),
        max(0.0, float(by_problem.var(ddof=1)) - both / seeds),
        both,
    )


def effort(found: Variances, least: float) -> Effort | None:
    """The fewest trainings and problems with which a difference of `least` is seen; None where no such study would do.

    The fewest answers, that is problems times seeds, with MOST_SEEDS seeds at most.
    """
    allowed = (least / POWER_AND_LEVEL) ** 2
    studies = []
    for seeds in range(2, MOST_SEEDS + 1):
        left = allowed - found.seeds / seeds
        if left > 0:
            studies.append(Effort(max(2, int(np.ceil((found.problems + found.both / seeds) / left))), seeds))
    return min(studies, key=lambda study: study.problems * study.seeds) if studies else None


def _drawn(rng: np.random.Generator, count: int) -> Floats:
    """(DRAWS, count) the share of each of `count` things in each draw with replacement."""
    return np.asarray(rng.multinomial(count, np.full(count, 1.0 / count), size=DRAWS) / count)
