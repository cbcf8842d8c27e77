"""Waits: bounded whoever asks for them, and growing while something is down."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.waits import LONGEST_S, Backoff, bounded


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_wait_from_outside_is_below_nothing_or_above_an_hour(asked: float) -> None:
    assert 0.0 <= bounded(asked) <= LONGEST_S


@pytest.mark.parametrize(
    ("asked", "given"), [(-1.0, 0.0), (30.0, 30.0), (1e300, LONGEST_S), (math.inf, LONGEST_S), (math.nan, LONGEST_S)]
)
def test_a_wait_within_the_bounds_is_kept(asked: float, given: float) -> None:
    assert bounded(asked) == given


def test_waits_grow_are_jittered_and_capped_and_start_again_after_a_success() -> None:
    least, most = Backoff(draw=lambda: 0.0), Backoff(draw=lambda: 1.0)
    assert [least.failed() for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert [most.failed() for _ in range(4)] == [2.0, 4.0, 8.0, 16.0]
    assert max(most.failed() for _ in range(2000)) == 300.0
    most.worked()
    assert most.failed() == 2.0


@given(st.integers(0, 200), st.floats(0.0, 1.0))
def test_a_wait_is_never_above_the_cap_nor_below_half_of_the_first(failures: int, drawn: float) -> None:
    backoff = Backoff(first_s=2.0, cap_s=300.0, draw=lambda: drawn)
    for _ in range(failures):
        assert 1.0 <= backoff.failed() <= 300.0
