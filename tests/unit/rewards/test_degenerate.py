"""`rewards.degenerate`: prompts that tell nothing are counted, score by score."""

import numpy as np

from persyn.rewards.combine import combine
from persyn.rewards.degenerate import Degenerate, count

NAN = float("nan")


def test_each_score_is_counted_over_the_answers_that_have_a_reward() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, NAN], [0.0, 0.0, 0.0], [NAN, NAN, 1.0]])
    learnability = np.array([[-1.0, -2.0, NAN], [-1.0, -1.0, -9.0], [-1.0, -1.0, -1.0], [-1.0, -2.0, NAN]])
    reward = combine(quality, learnability, 0.4, "minmax")
    # the first is flat in quality without its third answer, the second in learnability, the third in all of it
    assert count(quality, learnability, reward) == Degenerate(prompts=3, quality=2, learnability=2, reward=1)


def test_nothing_measured_is_nothing_degenerate() -> None:
    nothing = np.full((2, 3), NAN)
    assert count(nothing, nothing, nothing) == Degenerate(0, 0, 0, 0)
