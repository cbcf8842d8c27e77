"""`preferences.pairs`: every two teachers with different rewards give one preference, and nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.router.preferences import incidence, pairs

rewards = arrays(
    np.float64,
    st.tuples(st.integers(0, 4), st.integers(1, 6)),
    elements=st.one_of(st.integers(0, 3).map(float), st.just(float("nan"))),
)


def test_the_higher_reward_wins() -> None:
    result = pairs(np.array([[0.1, 0.9], [0.9, 0.1]]))
    assert result.target.tolist() == [[0.0], [1.0]]
    assert result.weight.tolist() == [[1.0], [1.0]]


def test_ties_and_missing_rewards_are_counted_and_left_out() -> None:
    result = pairs(np.array([[1.0, 1.0, np.nan]]))
    assert (result.preferences, result.ties, result.missing) == (0, 1, 2)
    assert not result.weight.any()


def test_a_difference_within_the_margin_is_a_tie() -> None:
    result = pairs(np.array([[0.0, 0.25, 1.0]]), margin=0.25)
    assert (result.preferences, result.ties) == (2, 1)
    assert result.weight.tolist() == [[0.0, 1.0, 1.0]]


def test_a_tie_counts_half_for_each_where_that_is_asked() -> None:
    result = pairs(np.array([[1.0, 1.0, np.nan]]), ties="half")
    assert result.target[0, 0] == 0.5
    assert result.weight.tolist() == [[1.0, 0.0, 0.0]]


def test_a_pair_weighs_its_rewards_difference_and_a_tie_what_a_preference_does_on_average() -> None:
    result = pairs(np.array([[0.0, 1.0, 4.0], [2.0, 2.0, np.nan]]), ties="half", weight="margin")
    assert result.weight.tolist() == [[1.0, 4.0, 3.0], [pytest.approx(8 / 3), 0.0, 0.0]]


def test_z_is_one_at_the_first_teacher_and_minus_one_at_the_second() -> None:
    assert incidence(3).tolist() == [[1, -1, 0], [1, 0, -1], [0, 1, -1]]


@given(values=rewards)
@settings(max_examples=60, deadline=None)
def test_every_pair_is_a_preference_a_tie_or_missing(values: np.ndarray) -> None:
    result = pairs(values)
    assert result.preferences == sum(int((row[:, None] > row[None, :]).sum()) for row in values)
    assert result.preferences == result.weight.sum()
    assert result.preferences + result.ties + result.missing == result.weight.size


@given(values=rewards)
@settings(max_examples=40, deadline=None)
def test_turning_the_rewards_around_swaps_winner_and_loser(values: np.ndarray) -> None:
    plain, turned = pairs(values), pairs(-values)
    assert (plain.target == 1 - turned.target).all()
    assert (plain.weight == turned.weight).all()
