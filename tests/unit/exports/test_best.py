"""The best of several answers, by their flaws and rewards."""

from typing import Any

import pytest

from persyn.exports.best import SampledAnswer, best


def candidate(index: int, reward: float | None = None, *flaws: str) -> SampledAnswer:
    return SampledAnswer(1, "t", 100 + index, index, None, None, [*flaws], None, None, "router", 1, reward)


@pytest.mark.parametrize(
    ("group", "index"),
    [
        ([candidate(0, 0.2), candidate(1, 0.9), candidate(2, 0.5)], 1),
        ([candidate(1, 0.5), candidate(0, 0.5)], 0),  # of equals the one that was asked for first, whatever their order
        ([candidate(0), candidate(1)], 0),
        ([candidate(0), candidate(1, 0.0)], 1),  # measured before unmeasured
        ([candidate(0, 0.9, "wrong"), candidate(1, 0.1)], 1),
        ([candidate(0, 0.9, "cut"), candidate(1, None)], 1),
        ([candidate(0, 0.9, "wrong"), candidate(1, 0.1, "cut")], 1),  # both stay behind: right before whole
        ([candidate(0, 0.1, "wrong"), candidate(1, 0.9, "wrong")], 1),
    ],
)
def test_right_then_flawless_then_the_higher_reward_then_the_first(group: list[SampledAnswer], index: int) -> None:
    assert best(group).sample_index == index


@pytest.mark.parametrize(("keep", "index"), [([], 1), (["wrong"], 0), (["cut"], 1), (["wrong", "cut"], 1)])
def test_an_answer_that_leaves_goes_before_one_that_stays_behind(keep: list[Any], index: int) -> None:
    assert best([candidate(0, 0.9, "wrong"), candidate(1, 0.1, "cut")], keep).sample_index == index
