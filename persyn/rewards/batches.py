"""Answers in batches for a forward pass: how they are put together, and how one bad answer costs itself alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from persyn.errors import JobFailed, ModelError
from persyn.text import reason

T = TypeVar("T")
R = TypeVar("R")


def by_length(lengths: Mapping[int, int], tokens_per_batch: int) -> Iterator[list[int]]:
    """The keys in batches whose padded size (rows × longest row) stays within `tokens_per_batch` tokens.

    Longest first: a batch that does not fit into memory shows at once, and its rows need little padding.
    """
    batch: list[int] = []
    for index in sorted(lengths, key=lambda index: lengths[index], reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def read_each(batch: Sequence[T], read: Callable[[Sequence[T]], Sequence[R]], owner: str) -> list[R | JobFailed]:
    """`read` of the batch; where that fails, of each item alone, so that only the item to blame gets a failure.

    `owner` begins the sentence of a failure (`scoring_failed`). Raises ModelError, which is no item's fault.
    """
    try:
        return list(read(batch))
    except ModelError:
        raise
    except Exception as exc:  # memory above all
        if len(batch) > 1:
            return [result for item in batch for result in read_each([item], read, owner)]
        return [JobFailed("scoring_failed", f"{owner}'s forward pass failed: {reason(exc)}.", permanent=True)]


def unreadable(exc: Exception) -> JobFailed:
    """The failure of an answer that the tokenizer cannot read: broken surrogates, missing keys."""
    message = f"The tokenizer cannot read this prompt and answer: {reason(exc)}."
    return JobFailed("unreadable", message, permanent=True)
