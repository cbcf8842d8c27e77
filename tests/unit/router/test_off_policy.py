"""`router.off_policy`: what one measured answer to a routed prompt says of its teacher, and what a head makes of it."""

from typing import Any

import numpy as np
import pytest

from persyn.config import Preferences
from persyn.policies import per_prompt
from persyn.rewards.combine import normalise
from persyn.router.head import select
from persyn.router.kernel_features import fit_features
from persyn.router.off_policy import HEAVIEST, Routed, RoutedAnswers

NAN = float("nan")
SKILL = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, 0.0], [0.0, 0.0, 0.5]])  # of three teachers in three directions


def values_of(vectors: Any, draw: np.random.Generator) -> Any:
    """Raw values of three teachers: their skill there, the prompt's difficulty, and noise."""
    return vectors @ SKILL + draw.normal(size=(len(vectors), 1)) + draw.normal(size=(len(vectors), 3))


def answers(values: list[list[float]], first: list[int], probability: list[float], calibration: Any) -> RoutedAnswers:
    return RoutedAnswers(
        [[] for _ in values], np.array(values), np.array(first), np.array(probability), np.array(calibration)
    )


def test_the_first_answer_counts_against_what_calibration_expects_of_the_others() -> None:
    """On both calibration prompts: 0, 1 and 2. The routed answer of the second teacher is worth 3."""
    vectors, calibration = np.eye(2), [[0.0, 1.0, 2.0]] * 2
    routed = Routed(np.ones((1, 2)), answers([[NAN, 3.0, NAN]], [1], [0.5], calibration))
    features = fit_features(vectors, "linear", seed=0)
    found = routed.preferences(features, vectors, np.array(calibration) / 2, Preferences(weight="margin"))
    # Pairs (0, 1), (0, 2), (1, 2): the first and the last name the routed teacher, the middle one says nothing new.
    assert found.target.tolist() == [[0.0, 0.0, 1.0]]
    # 3 - 0 and 3 - 2, in units of the rewards, which are half as wide; twice as heavy for the probability of a half.
    assert found.weight == pytest.approx(np.array([[3.0, 0.0, 1.0]]))
    assert found.preferences == 2


def test_a_further_answer_counts_against_the_first_one_and_nobody_else() -> None:
    vectors, calibration = np.eye(2), [[0.0, 1.0, 2.0]] * 2
    routed = Routed(np.ones((1, 2)), answers([[1.5, 0.5, NAN]], [1], [1.0], calibration))
    features = fit_features(vectors, "linear", seed=0)
    found = routed.preferences(features, vectors, np.array(calibration), Preferences(weight="margin"))
    assert found.target[0, [0, 2]].tolist() == [1.0, 0.0]  # the other teacher beats the routed one; so does the third
    assert found.weight == pytest.approx(np.array([[1.0, 0.0, 1.5]]))  # 1.5 - 0.5 measured, 2 - 0.5 expected


def test_no_prompt_weighs_more_than_the_heaviest() -> None:
    vectors, calibration = np.eye(2), [[0.0, 1.0]] * 2
    routed = Routed(np.ones((2, 2)), answers([[2.0, NAN]] * 2, [0, 0], [0.001, 1.0], calibration))
    features = fit_features(vectors, "linear", seed=0)
    found = routed.preferences(features, vectors, np.array(calibration), Preferences(weight="none"))
    assert found.weight.ravel().tolist() == [HEAVIEST, 1.0]


def learnt(seed: int, *, prompts: int = 40, routed: int = 1500) -> tuple[float, float]:
    """The mean value of the choices on fresh prompts: of a head from few calibration prompts, and with routed ones."""
    draw = np.random.default_rng(seed)
    vectors, further, fresh = (draw.normal(size=(count, 3)) for count in (prompts, routed, 4000))
    raw, found = values_of(vectors, draw), values_of(further, draw)
    rewards = normalise(raw, "minmax")
    before, _ = select(vectors, rewards, Preferences(), folds=3, seed=0)
    names = [str(number) for number in range(routed)]
    choice, _, probability = per_prompt.explore(before.coefficients(further), 0.2, [0, 1, 2], seed, names)
    rows = np.arange(routed)
    seen = np.full(found.shape, NAN)
    seen[rows, choice.teacher_index] = found[rows, choice.teacher_index]
    scale = (raw.mean(), raw.std())
    given = RoutedAnswers(
        [], (seen - scale[0]) / scale[1], choice.teacher_index, probability, (raw - scale[0]) / scale[1]
    )
    after, _ = select(vectors, rewards, Preferences(), folds=3, seed=0, routed=Routed(further, given))
    worth = fresh @ SKILL
    best = [worth[np.arange(4000), head.coefficients(fresh).argmax(axis=1)].mean() for head in (before, after)]
    return float(best[0]), float(best[1])


def test_routed_answers_teach_a_router_that_saw_few_calibration_prompts() -> None:
    gains = [after - before for before, after in map(learnt, range(6))]
    assert np.mean(gains) > 0.02
