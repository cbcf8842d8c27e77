"""The split of a prompt depends on its words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.exports.splits import normalised, split_of


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def test_about_the_share_is_kept_aside() -> None:
    splits = [split_of(user(f"{n} + 1?"), 0.1, 0) for n in range(2000)]
    assert 150 < splits.count("validation") < 250
    assert {split_of(user(f"{n} + 1?"), 0.0, 0) for n in range(50)} == {"train"}


def test_another_seed_keeps_others_aside() -> None:
    assert len({tuple(split_of(user(f"{n}?"), 0.5, seed) for n in range(40)) for seed in range(3)}) == 3


@given(st.text(), st.integers(0, 3))
def test_case_punctuation_and_white_space_move_no_prompt(content: str, seed: int) -> None:
    other = [{"role": "system", "content": "brief"}, *user(f"  {normalised(content)} ?!\n")]
    assert split_of(user(content), 0.5, seed) == split_of(other, 0.5, seed)


@pytest.mark.parametrize(
    ("text", "words"), [("What is 2+2?", "what is 2 2"), ("ＡＢ  c.", "ab c"), ("数学 🙂", "数学"), ("", "")]
)
def test_words_are_normalised_and_digits_stay(text: str, words: str) -> None:
    assert normalised(text) == words
