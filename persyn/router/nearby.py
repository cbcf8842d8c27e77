"""Which of the prompts that taught the router are nearest to another one, in the router's own embedding.

Kept with each decision, so that a person who asks why can read what was measured close by.
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
