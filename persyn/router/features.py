"""What the head sees of a prompt's vector: the vector itself, or its nearness to a sample of the training prompts.

Vectors of a language model share one large direction and differ in length for reasons that have nothing to do with
the question; so they are standardised on the training prompts and scaled to length 1 first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LANDMARKS = 600  # prompts that span the kernel's feature space: more gained nothing measurable and cost time
KERNELS = ("linear", "rbf-1")  # after `rbf-`: how fast nearness falls, exp(-γ·|a - b|²)


class Features(NamedTuple):
    """φ(v) = k(v)·projection - mean. Without landmarks k(v) is the scaled vector and the projection not needed."""

    kernel: str
    centre: Floats  # (D,)
    spread: Floats  # (D,)
    landmarks: Floats  # (L, D), scaled
    projection: Floats  # (L, F)
    mean: Floats  # (F,)

    def of(self, vectors: Floats) -> Floats:
        """(P, F) for vectors (P, D)."""
        if self.kernel == "unchanged":
            return vectors
        return np.asarray(_raw(self, scaled(vectors, self.centre, self.spread)) - self.mean)


def features(vectors: Floats, kernel: str, *, seed: int) -> Features:
    """Fit to the training prompts' vectors (P, D); the mean of φ over them is 0.

    The kernel's features are Nyström's: an orthonormal basis of the landmarks' span, so that a ridge on the head's
    weights is the kernel method's own penalty.
    """
    centre, spread = standard(vectors)
    unit = scaled(vectors, centre, spread)
    nothing = np.empty((0, vectors.shape[1]))
    if kernel == "linear":
        return Features(kernel, centre, spread, nothing, np.empty((0, 0)), unit.mean(axis=0))
    chosen = np.random.default_rng(seed).permutation(len(unit))[:LANDMARKS]
    landmarks = unit[np.sort(chosen)]
    values, directions = np.linalg.eigh(_nearness(landmarks, landmarks, kernel))
    kept = values > 1e-6 * values.max()
    made = Features(
        kernel, centre, spread, landmarks, directions[:, kept] / np.sqrt(values[kept]), np.zeros(int(kept.sum()))
    )
    return made._replace(mean=_raw(made, unit).mean(axis=0))


def unchanged(width: int) -> Features:
    """The vector itself: of a backbone that was trained together with its head."""
    return Features(
        "unchanged", np.zeros(width), np.ones(width), np.empty((0, width)), np.empty((0, 0)), np.zeros(width)
    )


def standard(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (D,) of the training prompts' vectors; 1 where all are the same."""
    spread = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)


def scaled(vectors: Floats, centre: Floats, spread: Floats) -> Floats:
    moved = (vectors - centre) / spread
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9))


def _raw(made: Features, unit: Floats) -> Floats:
    return unit if made.kernel == "linear" else _nearness(unit, made.landmarks, made.kernel) @ made.projection


def _nearness(left: Floats, right: Floats, kernel: str) -> Floats:
    gamma = float(kernel.removeprefix("rbf-"))
    return np.asarray(np.exp(-gamma * np.maximum(2.0 - 2.0 * (left @ right.T), 0.0)))  # |a - b|² of unit vectors
