"""Batches for a forward pass: bounded, complete, and a bad item costs itself alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.errors import JobFailed, ModelError
from persyn.rewards.batches import by_length, read_each


@given(st.dictionaries(st.integers(0, 1000), st.integers(1, 300), max_size=40), st.integers(1, 600))
def test_every_item_is_in_one_batch_within_the_bound(lengths: dict[int, int], bound: int) -> None:
    batches = list(by_length(lengths, bound))
    assert sorted(index for batch in batches for index in batch) == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= bound
    order = [lengths[index] for batch in batches for index in batch]
    assert order == sorted(order, reverse=True)


def test_the_item_that_is_to_blame_fails_alone() -> None:
    def read(batch: Sequence[int]) -> list[int]:
        if 0 in batch:
            raise MemoryError("too\nlong.")
        return [10 * item for item in batch]

    one, bad, two = read_each([1, 0, 2], read, "The student")
    assert (one, two) == (10, 20)
    assert isinstance(bad, JobFailed)
    assert (bad.code, bad.permanent) == ("scoring_failed", True)
    assert str(bad) == "The student's forward pass failed: MemoryError: too long."


def test_a_model_that_cannot_do_it_at_all_is_no_items_fault() -> None:
    def read(batch: Sequence[int]) -> list[int]:
        raise ModelError("no such layer")

    with pytest.raises(ModelError):
        read_each([1, 2], read, "The student")
