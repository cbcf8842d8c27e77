"""Which of the prompts that taught the router are nearest to another one, in the backbone's own embedding.

The head asks what was measured there, and five are kept with each decision, so that a person who asks why can read it.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]


def nearest(vectors: Vectors, known: Vectors, count: int) -> NDArray[np.intp]:
    """For each of (P, H) the rows of known (T, H) with the highest cosine, (P, min(count, T)), the nearest first.

    All must have length 1. One matrix product for all P; of equals the first.
    """
    likeness = vectors @ known.T
    count = min(count, len(known))
    if count < len(known):
        candidates = np.sort(np.argpartition(-likeness, count - 1, axis=1)[:, :count], axis=1)
    else:
        candidates = np.tile(np.arange(len(known)), (len(vectors), 1))
    order = np.argsort(-np.take_along_axis(likeness, candidates, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(candidates, order, axis=1))


def typical(values: Vectors) -> Vectors:
    """(M,) each teacher's mean of (T, M), NaN where unknown; of one without any, the lowest value of all."""
    known = ~np.isnan(values)
    lowest = values[known].min() if known.any() else 0.0
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), lowest)


def mean_of_nearest(vectors: Vectors, known: Vectors, values: Vectors, count: int) -> Vectors:
    """(P, M) means of values (T, M) over the nearest rows; of a teacher without any there, its mean on all."""
    found = values[nearest(vectors, known, count)]  # (P, count, M)
    there = ~np.isnan(found)
    total = np.where(there, found, 0.0).sum(axis=1)
    return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), typical(values))
