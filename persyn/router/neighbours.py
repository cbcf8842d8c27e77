"""The training prompts nearest to a prompt, in the backbone's own embedding.

The head reads the rewards measured there. Five of them are kept with each decision, so that a person who asks why can
read them.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]


NEAREST = 80  # training prompts that count as near, but never more than a third of them


def near_enough(known: int) -> int:
    """The number of training prompts, of so many, that count as near to a prompt."""
    return min(NEAREST, max(1, known // 3))


def nearest(vectors: Vectors, known: Vectors, count: int) -> NDArray[np.intp]:
    """For each of (P, H) the rows of known (T, H) with the highest cosine: (P, min(count, T)), the nearest first.

    All vectors must have length 1. One matrix product serves all P prompts. Of equals the first comes first.
    """
    likeness = vectors @ known.T
    count = min(count, len(known))
    if count < len(known):
        candidates = np.sort(np.argpartition(-likeness, count - 1, axis=1)[:, :count], axis=1)
    else:
        candidates = np.tile(np.arange(len(known)), (len(vectors), 1))
    order = np.argsort(-np.take_along_axis(likeness, candidates, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(candidates, order, axis=1))


def column_means(values: Vectors) -> Vectors:
    """(M,) the mean of each column of (T, M), NaN where unknown; for a column without a value, the lowest of all.

    A teacher that was never measured then counts as the worst, so that its mean can be compared.
    """
    known = ~np.isnan(values)
    lowest = values[known].min() if known.any() else 0.0
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), lowest)


def mean_of_nearest(vectors: Vectors, known: Vectors, values: Vectors, count: int) -> Vectors:
    """(P, M) means of values (T, M) over the nearest rows; for a teacher without a value there, its mean over all."""
    near = values[nearest(vectors, known, count)]  # (P, count, M)
    measured = ~np.isnan(near)
    total = np.where(measured, near, 0.0).sum(axis=1)
    return np.where(measured.any(axis=1), total / np.maximum(measured.sum(axis=1), 1), column_means(values))
