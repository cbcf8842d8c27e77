"""`router.kernel_features`: centred features, the kernel's own inner products, a backbone's part of length 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.router.kernel_features import (
    FARTHEST,
    KERNEL,
    centre_and_spread,
    fit_features,
    identity_features,
    scaled,
)

DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(size=(60, 8))


@pytest.mark.parametrize("kernel", ["linear", KERNEL])
def test_fit_features_centres_on_the_training_prompts(kernel: str) -> None:
    np.testing.assert_allclose(fit_features(VECTORS, kernel, seed=0).of(VECTORS).mean(axis=0), 0, atol=1e-9)


def test_fit_features_without_a_rest_has_the_kernels_own_inner_products() -> None:
    features = fit_features(VECTORS, KERNEL, seed=0)
    unit = scaled(VECTORS, *centre_and_spread(VECTORS))
    apart = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
    inner = features.of(VECTORS) + features.mean
    np.testing.assert_allclose(inner @ inner.T, np.exp(-apart), atol=1e-4)


def test_fit_features_takes_the_same_landmarks_for_the_same_seed() -> None:
    first, again = (fit_features(VECTORS, KERNEL, seed=3).of(VECTORS) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_features_scale_only_the_backbones_part_to_length_1() -> None:
    longer = np.hstack([7 * VECTORS[:, :6], VECTORS[:, 6:]])
    both = [fit_features(vectors, "linear", seed=0, pooled=6).of(vectors) for vectors in (VECTORS, longer)]
    np.testing.assert_allclose(*both, atol=1e-9)
    features = fit_features(VECTORS, "linear", seed=0, pooled=6)
    np.testing.assert_allclose(np.linalg.norm(features.of(VECTORS)[:, :6] + features.mean[:6], axis=1), 1)


def test_features_limit_a_surface_measure_that_is_far_out() -> None:
    features = fit_features(VECTORS, "linear", seed=0, pooled=6)
    outlier = VECTORS[:1].copy()
    outlier[0, 6:] = 1e6
    np.testing.assert_allclose(features.of(outlier)[0, 6:] + features.mean[6:], FARTHEST / np.sqrt(2))


def test_identity_features_are_the_vector_itself() -> None:
    np.testing.assert_array_equal(identity_features(8).of(VECTORS), VECTORS)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 20))
def test_scaled_vectors_have_length_1_or_0(seed: int, rows: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4)) * 10.0
    lengths = np.linalg.norm(scaled(vectors, *centre_and_spread(vectors)), axis=1)
    assert (np.isclose(lengths, 1.0) | np.isclose(lengths, 0.0)).all()


def test_centre_and_spread_of_equal_values_is_1() -> None:
    centre, spread = centre_and_spread(np.full((5, 2), 3.0))
    np.testing.assert_array_equal(centre, [3.0, 3.0])
    np.testing.assert_array_equal(spread, [1.0, 1.0])
