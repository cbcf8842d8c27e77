"""The next teacher for a failed prompt: by what happened where the same teachers failed, within price and budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from persyn.policies import rerouting
from persyn.policies.rerouting import STOP, CalibrationSample, Rule

Floats = NDArray[np.float64]


def made(seed: int, prompts: int = 60, teachers: int = 4, *, graded: bool = False) -> CalibrationSample:
    """Prompts of some difficulty, teachers of some skill, and coefficients that tell a little of both."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=(prompts, 1)) + rng.normal(size=teachers) + rng.normal(size=(prompts, teachers))
    quality = 1 / (1 + np.exp(-ease)) if graded else (ease > 0).astype(np.float64)
    return CalibrationSample(ease + rng.normal(size=(prompts, teachers)), quality)


def rule(teachers: int = 4, **changes: object) -> Rule:
    return Rule(1.0, np.ones(teachers), teachers)._replace(**changes)  # type: ignore[arg-type]


def test_the_teacher_that_is_right_where_the_failed_one_fails_comes_next() -> None:
    """Teacher 1 is right more often than 2 on the whole, but never where 0 fails."""
    quality = np.array([[1, 1, 0]] * 60 + [[0, 0, 1]] * 30 + [[1, 1, 1]] * 10, dtype=np.float64)
    sample = CalibrationSample(np.zeros((100, 3)), quality)
    step = rerouting.next_teachers(sample, rule(3), np.zeros((1, 3)), np.array([[0.0, np.nan, np.nan]]))
    assert step.teacher.tolist() == [2]
    assert step.gain[0] > 0.7


def test_a_prompts_neighbours_count_more_than_the_rest() -> None:
    quality = np.array([[0, 1, 0]] * 50 + [[0, 0, 1]] * 50, dtype=np.float64)
    where = np.array([[0.0, 0, 0]] * 50 + [[5.0, 5, 5]] * 50)
    step = rerouting.next_teachers(
        CalibrationSample(where, quality), rule(3), where[[0, 99]], np.array([[0.0, np.nan, np.nan]] * 2)
    )
    assert step.teacher.tolist() == [1, 2]


def test_nothing_is_asked_above_the_bar_or_beyond_the_attempts_or_a_second_time() -> None:
    sample = made(0)
    seen = np.array([[1.0, np.nan, np.nan, np.nan], [0.0, 0.0, np.nan, np.nan], [0.0, 0.0, 0.0, 0.0]])
    step = rerouting.next_teachers(sample, rule(attempts=2), sample.coefficients[:3], seen)
    assert step.teacher.tolist() == [STOP] * 3
    assert step.gain.tolist() == [0.0] * 3
    assert rerouting.next_teachers(sample, rule(), sample.coefficients[:3], seen).teacher[1] in (2, 3)


def test_an_answer_that_never_came_is_a_failure() -> None:
    sample = made(1)
    dead = np.array([[-np.inf, np.nan, np.nan, np.nan]])
    wrong = np.array([[0.0, np.nan, np.nan, np.nan]])
    steps = [rerouting.next_teachers(sample, rule(), sample.coefficients[:1], seen) for seen in (dead, wrong)]
    assert steps[0].teacher == steps[1].teacher != [0]
    assert np.isfinite(steps[0].gain).all()


def test_the_cheaper_of_two_equal_teachers_is_asked_and_a_dear_one_is_left() -> None:
    quality = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]] * 40)
    sample, seen = CalibrationSample(np.zeros((80, 3)), quality), np.array([[0.0, np.nan, np.nan]])
    asked = rule(3, price=np.array([1.0, 1.0, 0.5]), threshold=0.1)
    assert rerouting.next_teachers(sample, asked, np.zeros((1, 3)), seen).teacher.tolist() == [2]
    dear = rule(3, price=np.array([1.0, 9.0, 9.0]), threshold=0.1)  # a chance of a half for a price of 9
    assert rerouting.next_teachers(sample, dear, np.zeros((1, 3)), seen).teacher.tolist() == [STOP]


def test_the_expected_improvement_counts_what_is_above_the_best_answer() -> None:
    """By hand: of 0, 1 and 3 with weights 1, 2 and 1, an answer of 0.5 gains 0, 0.5 and 2.5."""
    levels, weight = rerouting._levels(np.array([0.0, 1.0, 3.0, np.nan])), np.array([[1.0, 2.0, 1.0, 7.0]])
    assert rerouting._improvement(weight, levels, np.array([0.5])) == pytest.approx([(2 * 0.5 + 2.5) / 4])
    assert rerouting._improvement(weight, rerouting._levels(np.full(4, np.nan)), np.array([0.5])).tolist() == [0.0]


def test_a_rare_brilliant_teacher_does_not_come_before_a_good_one() -> None:
    """Teacher 1 is worth 10 on one prompt of twenty, teacher 2 is worth 5 on all; there is one more answer."""
    quality = np.array([[0.0, 10.0, 5.0]] + [[0.0, 0.0, 5.0]] * 19)
    sample, seen = CalibrationSample(np.zeros((20, 3)), quality), np.array([[0.0, np.nan, np.nan]])
    step = rerouting.next_teachers(sample, rule(3, bar=6.0, attempts=2), np.zeros((1, 3)), seen)
    assert (step.teacher.tolist(), step.gain.tolist()) == ([2], pytest.approx([5.0]))


def test_many_grades_become_few_with_the_same_mean() -> None:
    quality = np.random.default_rng(0).random(1000)
    levels = rerouting._levels(quality)
    assert len(levels.value) == rerouting.MOST_LEVELS
    assert (np.diff(levels.value) < 0).all()
    assert (levels.member @ levels.value).mean() == pytest.approx(quality.mean())


@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 4))
def test_a_replay_asks_within_its_attempts_and_never_gives_the_best_away(seed: int, graded: bool, most: int) -> None:
    sample, new = made(seed, graded=graded), made(seed + 1, 20, graded=graded)
    first = new.coefficients.argmax(axis=1)
    done = rerouting.replay(sample, rule(attempts=most, bar=0.8), new.coefficients, new.quality, first)
    assert (done.asked.sum(axis=1) <= most).all()
    assert done.asked[np.arange(20), first].all()
    assert np.array_equal(done.quality, np.where(done.asked, new.quality, -np.inf).max(axis=1))


@given(st.integers(0, 10_000), st.floats(0.5, 2.5), st.booleans())
def test_a_threshold_spends_the_budget_and_no_more(seed: int, budget: float, graded: bool) -> None:
    """The price with its standard error is within the budget, and any lower threshold would take it beyond."""
    sample, asked = made(seed, graded=graded), rule(bar=0.9)
    asked = asked._replace(price=np.random.default_rng(seed).uniform(0.5, 1.5, 4))
    first = sample.coefficients.argmax(axis=1)
    own = np.arange(len(first))

    def spent(threshold: float) -> float:
        kept = asked._replace(threshold=threshold)
        price = rerouting.replay(sample, kept, sample.coefficients, sample.quality, first, own).price
        return float(price.mean() + price.std() / np.sqrt(len(price)))

    threshold = rerouting.threshold_for(sample, asked, first, budget)
    assert spent(threshold) <= max(budget, spent(np.inf)) + 1e-8
    assert threshold == 0.0 or spent(np.inf) > budget or spent(threshold - 1e-9) > budget


def test_a_prompt_is_no_evidence_about_itself() -> None:
    """Where every answer but one is wrong, only the prompt itself knows who is right on it."""
    quality = np.zeros((50, 3))
    quality[7, 2] = 1.0
    sample, seen = CalibrationSample(np.zeros((50, 3)), quality), np.array([[0.0, np.nan, np.nan]])
    known = rerouting.next_teachers(sample, rule(3), np.zeros((1, 3)), seen)
    itself = rerouting.next_teachers(sample, rule(3), np.zeros((1, 3)), seen, np.array([7]))
    assert (known.teacher.tolist(), itself.teacher.tolist()) == ([2], [STOP])
