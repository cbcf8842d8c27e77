"""What the head sees of a prompt's vector: the vector itself, or its nearness to a sample of the training prompts.

Vectors of a language model share one large direction and differ in length for reasons that have nothing to do with
the question; so they are standardised on the training prompts and scaled to length 1 first. What `surface` measured,
which stands behind them, keeps its length: a prompt may be written as no other is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LANDMARKS = 600  # prompts that span the kernel's feature space: more gained nothing measurable and cost time
KERNEL = "rbf-1"  # after `rbf-`: how fast nearness falls, exp(-γ·|a - b|²)
FARTHEST = 4.0  # standard deviations, of one measure of the surface


class Features(NamedTuple):
    """φ(v) = k(v)·projection - mean. Without landmarks k(v) is the scaled vector and the projection not needed."""

    kernel: str
    pooled: int  # so many of the D are the backbone's, the others the surface's
    centre: Floats  # (D,)
    spread: Floats  # (D,)
    landmarks: Floats  # (L, D), scaled
    projection: Floats  # (L, F)
    mean: Floats  # (F,)

    def of(self, vectors: Floats) -> Floats:
        """(P, F) for vectors (P, D)."""
        if self.kernel == "unchanged":
            return vectors
        return np.asarray(_raw(self, _scaled(self, vectors)) - self.mean)

    def unit(self, vectors: Floats) -> Floats:
        """(P, pooled): the backbone's part alone, scaled to length 1."""
        own = self.pooled
        return scaled(vectors[:, :own], self.centre[:own], self.spread[:own])


def features(vectors: Floats, kernel: str, *, seed: int, pooled: int | None = None) -> Features:
    """Fit to the training prompts' vectors (P, D), of which the backbone made the first `pooled`; all of them: None.

    The mean of φ over these prompts is 0.

    The kernel's features are Nyström's: an orthonormal basis of the landmarks' span, so that a ridge on the head's
    weights is the kernel method's own penalty.
    """
    width = vectors.shape[1]
    start = _plain(kernel, width if pooled is None else pooled, *standard(vectors))
    seen = _scaled(start, vectors)
    if kernel == "linear":
        return start._replace(mean=seen.mean(axis=0))
    chosen = np.random.default_rng(seed).permutation(len(seen))[:LANDMARKS]
    landmarks = seen[np.sort(chosen)]
    values, directions = np.linalg.eigh(_nearness(landmarks, landmarks, kernel))
    kept = values > 1e-6 * values.max()
    made = start._replace(landmarks=landmarks, projection=directions[:, kept] / np.sqrt(values[kept]))
    return made._replace(mean=_raw(made, seen).mean(axis=0))


def unchanged(width: int) -> Features:
    """The vector itself: of a backbone that was trained together with its head."""
    return _plain("unchanged", width, np.zeros(width), np.ones(width))


def standard(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (D,) of the training prompts' vectors; 1 where all are the same."""
    spread = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)


def scaled(vectors: Floats, centre: Floats, spread: Floats) -> Floats:
    moved = (vectors - centre) / spread
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9))


def _plain(kernel: str, pooled: int, centre: Floats, spread: Floats) -> Features:
    width = len(centre)
    return Features(kernel, pooled, centre, spread, np.empty((0, width)), np.empty((0, 0)), np.zeros(width))


def _scaled(made: Features, vectors: Floats) -> Floats:
    """(P, D): the backbone's part at length 1, the surface's about as long on average."""
    own, unit = made.pooled, made.unit(vectors)
    if own == vectors.shape[1]:
        return unit
    surface = np.clip((vectors[:, own:] - made.centre[own:]) / made.spread[own:], -FARTHEST, FARTHEST)
    return np.hstack([unit, surface / np.sqrt(surface.shape[1])])


def _raw(made: Features, unit: Floats) -> Floats:
    return unit if made.kernel == "linear" else _nearness(unit, made.landmarks, made.kernel) @ made.projection


def _nearness(left: Floats, right: Floats, kernel: str) -> Floats:
    gamma = float(kernel.removeprefix("rbf-"))
    apart = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * (left @ right.T)  # |a - b|²
    return np.asarray(np.exp(-gamma * np.maximum(apart, 0.0)))
