"""`router.head`: what the prompts tell is learnt, and where they tell nothing the static best remains."""

import numpy as np
import pytest

from persyn.config import Preferences
from persyn.preferences.pairs import pairs
from persyn.router.features import features
from persyn.router.head import path, select, static

DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(size=(200, 8))
NOISE = DRAW.normal(size=(200, 4)) + np.arange(4) * 0.4


def test_without_a_signal_the_router_is_the_static_best() -> None:
    head, choice = select(VECTORS, NOISE, Preferences(), folds=5, seed=0)
    assert choice.kernel == "static"
    assert not head.weights.any()
    np.testing.assert_allclose(head.bias, static(pairs(NOISE, weight="margin"), 4), atol=1e-6)


def test_a_signal_is_found_and_worth_more_than_the_static_best() -> None:
    head, choice = select(VECTORS, NOISE + 2 * VECTORS[:, :4], Preferences(), folds=5, seed=0)
    assert choice.reward > choice.static_reward
    assert head.weights.any()


@pytest.mark.parametrize("kernel", ["linear", "rbf-1"])
def test_less_shrinkage_moves_further_from_the_static_best(kernel: str) -> None:
    known = pairs(NOISE + VECTORS[:, :4], weight="margin")
    sizes = [float((head.weights**2).sum()) for _, head in path(VECTORS, known, 4, kernel, seed=0)]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kernel", ["linear", "rbf-1"])
def test_features_are_centred_on_the_training_prompts(kernel: str) -> None:
    np.testing.assert_allclose(features(VECTORS, kernel, seed=0).of(VECTORS).mean(axis=0), 0, atol=1e-9)
