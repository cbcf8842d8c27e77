"""`preferences.pairs`: every two teachers with different rewards give one preference, and nothing else does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.preferences.pairs import pairs

rewards = arrays(
    np.float64,
    st.tuples(st.integers(0, 4), st.integers(1, 6)),
    elements=st.one_of(st.integers(0, 3).map(float), st.just(float("nan"))),
)


def test_the_higher_reward_wins() -> None:
    result = pairs(np.array([[0.1, 0.9], [0.9, 0.1]]))
    assert (result.prompt.tolist(), result.winner.tolist(), result.loser.tolist()) == ([0, 1], [1, 0], [0, 1])


def test_ties_and_missing_rewards_are_counted_and_left_out() -> None:
    result = pairs(np.array([[1.0, 1.0, np.nan]]))
    assert (len(result.prompt), result.ties, result.missing) == (0, 1, 2)


@given(values=rewards)
@settings(max_examples=60, deadline=None)
def test_pairs_are_complete_and_each_has_one_winner(values: np.ndarray) -> None:
    result = pairs(values)
    found = list(zip(result.prompt.tolist(), result.winner.tolist(), result.loser.tolist(), strict=True))
    prompts, teachers = values.shape
    expected = {
        (prompt, a, b)
        for prompt in range(prompts)
        for a in range(teachers)
        for b in range(teachers)
        if values[prompt, a] > values[prompt, b]
    }
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(found) + result.ties + result.missing == prompts * teachers * (teachers - 1) // 2


@given(values=rewards)
@settings(max_examples=40, deadline=None)
def test_turning_the_rewards_around_swaps_winner_and_loser(values: np.ndarray) -> None:
    plain, turned = pairs(values), pairs(-values)
    assert (plain.winner == turned.loser).all()
    assert (plain.loser == turned.winner).all()
