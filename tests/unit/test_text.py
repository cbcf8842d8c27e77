"""Text from outside, as Postgres takes it and as a sentence ends with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.text import reason, storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("\ud83d alone", "\ufffd alone"),
        ("\U0001f600 \n\t", "\U0001f600 \n\t"),  # a whole character beyond the BMP, and white space
    ],
)
def test_only_what_postgres_cannot_store_is_replaced(text: str, stored: str) -> None:
    assert storable(text) == stored
    stored.encode("utf-8")


@pytest.mark.parametrize(("length", "limit"), [(0, 3), (2, 3), (3, 3), (4, 3), (4, None)])
def test_a_text_is_cut_to_its_limit_and_shows_that_it_was(length: int, limit: int | None) -> None:
    stored = storable("x" * length, limit)
    assert len(stored) == (length if limit is None else min(length, limit))
    assert stored.endswith("…") is (limit is not None and length > limit)


def test_an_exception_becomes_one_line_without_a_full_stop() -> None:
    assert reason(ValueError("a\n  b.")) == "ValueError: a b"


@given(st.text(st.characters(exclude_categories=()), max_size=50), st.integers(0, 100), st.integers(1, 200))
def test_every_text_becomes_utf8_without_nul_within_its_limit(word: str, times: int, limit: int) -> None:
    stored = storable(word * times, limit)
    assert stored.encode("utf-8").count(0) == 0
    assert len(stored) <= limit
