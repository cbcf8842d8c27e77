"""Cuts an export into training and validation rows, so that no validation prompt has a near duplicate in training.

Near duplicates are found by MinHash over runs of five words: two prompts fall together for certain where they differ in
case, punctuation and white space alone, and nearly always where they share nine runs in ten.
"""

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persyn.exports.manifest import Split

RUN = 5
BANDS, BAND = 8, 8  # prompts whose likeness is s share a band with the chance 1 - (1 - s^8)^8: half at 0.72

_MULTIPLIERS, _OFFSETS = np.random.default_rng(20261125).integers(1, 2**63, (2, BANDS * BAND, 1), dtype=np.uint64)
_BAND_WEIGHTS = np.random.default_rng(5).integers(1, 2**63, BAND, dtype=np.uint64) | np.uint64(1)


class Splits:
    """The split of each prompt that was added. Prompts that are near duplicates of each other have the same."""

    def __init__(self, validation: float, seed: int) -> None:
        """validation: about the share of the clusters, and so of the prompts, that is kept aside."""
        self._share, self._seed = validation, seed
        self._ids, self._names, self._bands = array("q"), array("Q"), array("Q")
        self._validation: frozenset[int] | None = None

    def add(self, prompt_id: int, messages: Sequence[dict[str, Any]]) -> None:
        words = normalised(" ".join(message["content"] for message in messages if message["role"] == "user"))
        self._ids.append(prompt_id)
        self._names.append(_number(words))
        self._bands.extend(_signature(words.split()).tolist())

    def of(self, prompt_id: int) -> Split:
        """All prompts must have been added, unless nothing is kept aside."""
        if self._share == 0.0:
            return "train"
        if self._validation is None:
            self._validation = self._drawn()
        return "validation" if prompt_id in self._validation else "train"

    def _drawn(self) -> frozenset[int]:
        if not self._ids:
            return frozenset()
        cluster = _clusters(np.frombuffer(self._bands, dtype=np.uint64).reshape(-1, BANDS))
        # A cluster is called by the smallest of its prompts' numbers, so that the order of the prompts does not count.
        names = np.full(cluster.max() + 1, 2**64 - 1, dtype=np.uint64)
        np.minimum.at(names, cluster, np.frombuffer(self._names, dtype=np.uint64))
        kept = np.array([_number(f"{self._seed}:split:{name}") < self._share * 2.0**64 for name in names])
        return frozenset(np.frombuffer(self._ids, dtype=np.int64)[kept[cluster]].tolist())


def normalised(text: str) -> str:
    """The words of a text: compatibility forms folded, lower case, digits kept, what is neither a letter dropped."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _signature(words: Sequence[str]) -> NDArray[np.uint64]:
    """(BANDS,) a number for each band of minima."""
    runs = {" ".join(words[start : start + RUN]) for start in range(max(len(words) - RUN + 1, 1))}
    hashes = np.array([_number(run) for run in runs], dtype=np.uint64)
    minima = (_MULTIPLIERS * hashes + _OFFSETS).min(axis=1)
    return np.asarray((minima.reshape(BANDS, BAND) * _BAND_WEIGHTS).sum(axis=1, dtype=np.uint64))


def _clusters(bands: NDArray[np.uint64]) -> NDArray[np.intp]:
    """(P,) the cluster of each prompt, from (P, BANDS): whoever shares a band is joined."""
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - a sixth of the time that a command takes to start
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    left, right = [], []
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        same = band[order[1:]] == band[order[:-1]]
        left.append(order[:-1][same])
        right.append(order[1:][same])
    ends = np.concatenate(left), np.concatenate(right)
    joined = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(len(bands), len(bands)))
    return np.asarray(connected_components(joined, directed=False)[1])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
