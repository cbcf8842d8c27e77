"""The head's features of a prompt's vector: the vector itself, or its nearness to a sample of the training prompts.

Vectors of a language model share one large direction, and they differ in length for reasons that have nothing to do
with the question. Therefore they are standardised on the training prompts and scaled to length 1 first. The measures of
`surface_features`, which stand behind them, keep their length: a prompt may be written like no other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LANDMARKS = 600  # prompts that span the kernel's feature space: more of them gained nothing measurable and cost time
KERNEL = "rbf-1"  # after `rbf-`: how fast nearness falls, the γ of exp(-γ·|a - b|²)
FARTHEST = 4.0  # standard deviations; the limit of one surface measure
IDENTITY = "unchanged"  # the identity's name in an artifact


class Features(NamedTuple):
    """φ(v) = k(v)·projection - mean. Without landmarks k(v) is the scaled vector, and the projection is not needed."""

    kernel: str
    pooled: int  # the first columns, which the backbone made; the others are the surface's
    centre: Floats  # (D,)
    spread: Floats  # (D,)
    landmarks: Floats  # (L, D), scaled
    projection: Floats  # (L, F)
    mean: Floats  # (F,)

    def of(self, vectors: Floats) -> Floats:
        """(P, F) for vectors (P, D)."""
        if self.kernel == IDENTITY:
            return vectors
        return np.asarray(_raw(self, _scaled(self, vectors)) - self.mean)

    def unit(self, vectors: Floats) -> Floats:
        """(P, pooled): the backbone's part alone, scaled to length 1."""
        return scaled(vectors[:, : self.pooled], self.centre[: self.pooled], self.spread[: self.pooled])


def fit_features(vectors: Floats, kernel: str, *, seed: int, pooled: int | None = None) -> Features:
    """Features fitted to the training prompts' vectors (P, D); the mean of φ over these prompts is 0.

    pooled: how many of the D the backbone made; None means all. The kernel's features are Nyström's: an orthonormal
    basis of the landmarks' span, so that a ridge on the head's weights is the kernel method's own penalty.
    """
    width = vectors.shape[1]
    linear = _without_landmarks(kernel, width if pooled is None else pooled, *centre_and_spread(vectors))
    inputs = _scaled(linear, vectors)
    if kernel == "linear":
        return linear._replace(mean=inputs.mean(axis=0))
    chosen = np.random.default_rng(seed).permutation(len(inputs))[:LANDMARKS]
    landmarks = inputs[np.sort(chosen)]
    values, directions = np.linalg.eigh(_nearness(landmarks, landmarks, kernel))
    kept = values > 1e-6 * values.max()
    features = linear._replace(landmarks=landmarks, projection=directions[:, kept] / np.sqrt(values[kept]))
    return features._replace(mean=_raw(features, inputs).mean(axis=0))


def identity_features(width: int) -> Features:
    """The vector itself, for a backbone that was trained together with its head."""
    return _without_landmarks(IDENTITY, width, np.zeros(width), np.ones(width))


def centre_and_spread(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation, (D,) each, of the training prompts' vectors; 1 for a column of equal values."""
    spread = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)


def scaled(vectors: Floats, centre: Floats, spread: Floats) -> Floats:
    """(P, D) standardised, then scaled to length 1; a vector at the centre stays 0."""
    moved = (vectors - centre) / spread
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9))


def _without_landmarks(kernel: str, pooled: int, centre: Floats, spread: Floats) -> Features:
    width = len(centre)
    return Features(kernel, pooled, centre, spread, np.empty((0, width)), np.empty((0, 0)), np.zeros(width))


def _scaled(features: Features, vectors: Floats) -> Floats:
    """(P, D): the backbone's part at length 1, and the surface's part about as long on average."""
    pooled, unit = features.pooled, features.unit(vectors)
    if pooled == vectors.shape[1]:
        return unit
    surface = (vectors[:, pooled:] - features.centre[pooled:]) / features.spread[pooled:]
    return np.hstack([unit, np.clip(surface, -FARTHEST, FARTHEST) / np.sqrt(surface.shape[1])])


def _raw(features: Features, inputs: Floats) -> Floats:
    if features.kernel == "linear":
        return inputs
    return _nearness(inputs, features.landmarks, features.kernel) @ features.projection


def _nearness(left: Floats, right: Floats, kernel: str) -> Floats:
    gamma = float(kernel.removeprefix("rbf-"))
    apart = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * (left @ right.T)  # |a - b|²
    return np.asarray(np.exp(-gamma * np.maximum(apart, 0.0)))
