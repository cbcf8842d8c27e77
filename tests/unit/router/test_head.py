"""`router.head`: what the prompts tell is learnt, and where they tell nothing the static best remains."""

import numpy as np
import pytest

from persyn.config import Preferences, Router
from persyn.router.head import STATIC, Head, Neighbours, Selection, fit, regularisation_path, select, static
from persyn.router.kernel_features import fit_features
from persyn.router.preferences import pairs
from persyn.router.surface_features import surface

DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(size=(200, 8))
NOISE = DRAW.normal(size=(200, 4)) + np.arange(4) * 0.4
SIGNAL = NOISE + 2 * VECTORS[:, :4]


@pytest.fixture(scope="module")
def selected() -> tuple[Head, Selection]:
    """The head that the cross-validation chooses where the prompts tell something; seconds, so made once."""
    return select(VECTORS, SIGNAL, Preferences(), folds=5, seed=0)


def test_without_a_signal_the_router_is_the_static_best() -> None:
    head, choice = select(VECTORS, NOISE, Preferences(), folds=5, seed=0)
    assert choice.shrinkage == STATIC
    assert not head.weights.any()
    np.testing.assert_allclose(head.bias, static(pairs(NOISE, weight="margin"), 4), atol=1e-6)


def test_a_signal_is_found_and_worth_more_than_the_static_best(selected: tuple[Head, Selection]) -> None:
    head, choice = selected
    assert choice.reward > choice.static_reward
    assert head.weights.any()


@pytest.mark.parametrize("kernel", ["linear", "rbf-1"])
def test_less_shrinkage_moves_further_from_the_static_best(kernel: str) -> None:
    known = pairs(NOISE + VECTORS[:, :4], weight="margin")
    heads = dict(regularisation_path(fit_features(VECTORS, kernel, seed=0), VECTORS, known, 4))
    sizes = [float((head.weights**2).sum()) for head in heads.values()]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)


def test_what_the_surface_tells_is_learnt() -> None:
    messages = [[{"role": "user", "content": ("WHO IS IT" if number % 2 else "who is it?")}] for number in range(80)]
    rewards = np.array([[1.0, 0.0] if number % 2 else [0.0, 1.0] for number in range(80)])
    vectors = np.hstack([np.zeros((80, 3)), surface(messages)])
    head = fit(vectors, rewards, Router(), Preferences(), seed=0).head
    assert head.features.pooled == 3
    np.testing.assert_array_equal(head.coefficients(vectors).argmax(axis=1), rewards.argmax(axis=1))


def test_what_lies_near_adds_how_much_more_than_usual_a_teacher_got_there() -> None:
    vectors = np.repeat(np.eye(2), 6, axis=0) + DRAW.normal(scale=1e-3, size=(12, 2))
    rewards = np.array([[1.0, 0.0, np.nan]] * 6 + [[0.0, 1.0, np.nan]] * 6)
    rewards[0, 2] = 0.5
    gain = Neighbours(vectors, rewards).gain(fit_features(vectors, "linear", seed=0), np.eye(2))
    np.testing.assert_allclose(gain[:, :2], [[0.5, -0.5], [-0.5, 0.5]])
    np.testing.assert_allclose(gain[1, 2], 0)  # nobody near knows the third teacher: no more and no less than usual


def test_the_scale_of_the_rewards_does_not_matter(selected: tuple[Head, Selection]) -> None:
    one, other = selected[0], select(VECTORS, 1000 * SIGNAL, Preferences(), folds=5, seed=0)[0]
    assert one.neighbours is not None
    np.testing.assert_allclose(one.coefficients(VECTORS), other.coefficients(VECTORS), atol=1e-4)


def test_each_prompt_gets_the_same_coefficients_alone_and_among_others(selected: tuple[Head, Selection]) -> None:
    head, _ = selected
    alone = np.vstack([head.coefficients(row[None]) for row in VECTORS[:20]])
    np.testing.assert_allclose(head.coefficients(VECTORS)[:20], alone, atol=1e-9)
