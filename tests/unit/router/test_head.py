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
    rewards = NOISE + VECTORS[:, :4]
    heads = dict(path(VECTORS, pairs(rewards, weight="margin"), rewards, kernel, seed=0))
    sizes = [float((head.weights**2).sum()) for candidate, head in heads.items() if not candidate.blended]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kernel", ["linear", "rbf-1"])
def test_a_blend_keeps_the_scale_of_the_preferences_and_the_static_bias(kernel: str) -> None:
    rewards = NOISE + VECTORS[:, :4]
    heads = dict(path(VECTORS, pairs(rewards, weight="margin"), rewards, kernel, seed=0))
    for candidate, head in heads.items():
        if candidate.blended:
            alone = heads[candidate._replace(blended=False)]
            np.testing.assert_array_equal(head.bias, alone.bias)
            seen = alone.features.of(VECTORS)
            assert (seen @ head.weights).std() <= (seen @ alone.weights).std() * (1 + 1e-9)


@pytest.mark.parametrize("kernel", ["linear", "rbf-1"])
def test_features_are_centred_on_the_training_prompts(kernel: str) -> None:
    np.testing.assert_allclose(features(VECTORS, kernel, seed=0).of(VECTORS).mean(axis=0), 0, atol=1e-9)
