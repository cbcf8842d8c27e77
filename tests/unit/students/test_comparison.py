"""Differences between students: intervals that know both kinds of luck, and what a study would take."""

import numpy as np
import pytest

from persyn.students.comparison import POWER_AND_LEVEL, Effort, Variances, difference, effort, holm, variances


def students(rng: np.random.Generator, rate: float, seeds: int, problems: int, luck: float) -> np.ndarray:
    rates = rate + luck * rng.standard_normal(seeds)
    return (rng.random((seeds, problems)) < rates[:, None]).astype(float)


def test_a_difference_is_that_of_the_means_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    found = difference(students(rng, 0.6, 5, 400, 0.0), students(rng, 0.4, 5, 400, 0.0), paired=True)
    assert found.mean == pytest.approx(0.2, abs=0.04)
    assert 0 < found.low < found.mean < found.high
    assert found.p <= 0.01


def test_equal_students_are_no_difference() -> None:
    same = students(np.random.default_rng(1), 0.5, 3, 200, 0.0)
    assert difference(same, same, paired=True) == (0.0, 0.0, 0.0, 1.0)


def test_the_luck_of_the_training_widens_the_interval_however_many_problems_there_are() -> None:
    rng = np.random.default_rng(2)
    steady = difference(*(students(rng, 0.5, 5, 4000, 0.0) for _ in range(2)), paired=False)
    lucky = difference(*(students(rng, 0.5, 5, 4000, 0.1) for _ in range(2)), paired=False)
    assert lucky.high - lucky.low > 3 * (steady.high - steady.low)


def test_no_difference_is_rarely_taken_for_one() -> None:
    """Eight seeds: about one study in twenty says so by chance, a little more with few seeds."""
    rng = np.random.default_rng(3)
    pairs = [[students(rng, 0.5, 8, 150, 0.05) for _ in range(2)] for _ in range(100)]
    wrong = sum(difference(*pair, paired=False).p < 0.05 for pair in pairs)
    assert wrong / 100 < 0.14


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order() -> None:
    # sorted 0.01, 0.03, 0.04: ×3, ×2, ×1 gives 0.03, 0.06, 0.04, and none may be below the one before
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_variances_are_told_apart() -> None:
    rng = np.random.default_rng(4)
    seeds, problems = 40, 600
    made = (
        0.1 * rng.standard_normal((seeds, 1)) + 0.3 * rng.standard_normal((1, problems))
        + 0.4 * rng.standard_normal((seeds, problems))
    )  # fmt: skip
    found = variances(made)
    assert found is not None
    assert np.sqrt(found) == pytest.approx([0.1, 0.3, 0.4], rel=0.25)
    assert variances(made[:1]) is None


def test_the_effort_is_enough_and_no_less() -> None:
    found = Variances(seeds=0.0004, problems=0.09, both=0.16)
    study = effort(found, 0.03)
    assert study is not None
    assert found.error(study.problems, study.seeds) <= 0.03 / POWER_AND_LEVEL
    assert found.error(study.problems - 1, study.seeds) > 0.03 / POWER_AND_LEVEL
    assert effort(found, 0.001) is None, "twenty trainings leave a larger error, however many problems"
    # 0.04 / (0.28 / 2.8)² = 4 answers; two seeds are the fewest
    assert effort(Variances(0.0, 0.0, 0.04), 0.28) == Effort(2, 2)
