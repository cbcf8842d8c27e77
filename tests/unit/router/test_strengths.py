"""`router.strengths` against odds that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.preferences.pairs import pairs
from persyn.router.strengths import PRIOR, strengths


def test_of_two_teachers_the_lead_is_the_log_of_their_odds() -> None:
    rewards = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    result = strengths(pairs(rewards), 2)
    assert result[0] - result[1] == pytest.approx(np.log((3 + PRIOR) / (1 + PRIOR)))
    assert result.sum() == pytest.approx(0.0)


def test_a_teacher_that_always_wins_stays_finite_and_first() -> None:
    result = strengths(pairs(np.tile([0.0, 1.0, 2.0], (500, 1))), 3)
    assert np.isfinite(result).all()
    assert result.argsort().tolist() == [0, 1, 2]


def test_without_preferences_all_are_equal() -> None:
    assert strengths(pairs(np.full((4, 3), np.nan)), 3).tolist() == [0.0, 0.0, 0.0]


@given(rewards=arrays(np.float64, (12, 4), elements=st.integers(0, 5).map(float)))
@settings(max_examples=30, deadline=None)
def test_expected_wins_equal_the_wins_that_were_counted(rewards: np.ndarray) -> None:
    preferences = pairs(rewards)
    wins = np.full((4, 4), PRIOR) - np.eye(4) * PRIOR
    np.add.at(wins, (preferences.winner, preferences.loser), 1.0)
    result = strengths(preferences, 4)
    chance = 1 / (1 + np.exp(result[None, :] - result[:, None]))
    np.testing.assert_allclose(((wins + wins.T) * chance).sum(axis=1), wins.sum(axis=1), atol=1e-6)
