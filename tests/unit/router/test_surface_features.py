"""`router.surface`: how a prompt is written, as finite numbers, whatever it holds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from persyn.router.surface_features import CHARACTERS, WIDTH, surface


def of(text: str) -> np.ndarray:
    return surface([[{"role": "user", "content": text}]])[0]


@given(st.text())
def test_any_text_has_finite_measures_and_shares_between_0_and_1(text: str) -> None:
    measured = of(text)
    assert measured.shape == (WIDTH,)
    assert np.isfinite(measured).all()
    assert (measured >= 0).all()
    assert (measured[9:-1] <= 1).all()


def test_case_digits_lines_and_signs_are_seen() -> None:
    texts = ["who is it", "WHO IS IT", "who is it?", "who is it 12", "who\nis it", "who is (it)", "who is it " * 9]
    assert len({tuple(of(text)) for text in texts}) == len(texts)


def test_what_comes_after_the_first_characters_is_not_read() -> None:
    np.testing.assert_array_equal(of("a" * CHARACTERS), of("a" * CHARACTERS + "!" * 10_000_000))


def test_every_message_counts_and_no_prompts_give_no_rows() -> None:
    both = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Why?"}]
    np.testing.assert_array_equal(surface([both])[0], of("Short.\nWhy?"))
    assert surface([]).shape == (0, WIDTH)
