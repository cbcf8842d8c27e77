"""The split of a prompt: near duplicates go together, whatever their order."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.exports.splits import Splits, normalised


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "brief"}, {"role": "user", "content": content}]


def split(contents: list[str], validation: float = 0.5, seed: int = 0) -> list[Any]:
    splits = Splits(validation, seed)
    for number, content in enumerate(contents):
        splits.add(number, user(content))
    return [splits.of(number) for number in range(len(contents))]


def story(number: int, words: int = 60) -> str:
    return " ".join(random.Random(number).choices([f"word{n}" for n in range(500)], k=words))


def test_about_the_share_is_kept_aside() -> None:
    splits = split([f"{n} + 1?" for n in range(2000)], 0.1)
    assert 150 < splits.count("validation") < 250


def test_nothing_is_kept_aside_unasked() -> None:
    splits = Splits(0.0, 0)
    assert splits.of(1) == "train"


def test_another_seed_keeps_others_aside() -> None:
    assert len({tuple(split([f"{n}?" for n in range(40)], seed=seed)) for seed in range(3)}) == 3


@given(st.lists(st.text(), min_size=1, max_size=8), st.integers(0, 3))
def test_case_punctuation_and_white_space_separate_nothing(contents: list[str], seed: int) -> None:
    others = [f"  {normalised(content)} ?!\n" for content in contents]
    splits = split([*contents, *others], seed=seed)
    assert splits[: len(contents)] == splits[len(contents) :]


def test_near_duplicates_go_together() -> None:
    """One word more at the end of sixty leaves more than nine runs in ten."""
    stories = [story(number) for number in range(100)]
    splits = split([*stories, *(f"{text} indeed" for text in stories)])
    assert splits[:100] == splits[100:]
    assert {*splits} == {"train", "validation"}


def test_prompts_that_share_a_half_may_be_separated() -> None:
    stories = [story(number, 30) for number in range(60)]
    splits = split([*(f"{text} {story(n + 1000, 30)}" for n, text in enumerate(stories)),
                    *(f"{text} {story(n + 2000, 30)}" for n, text in enumerate(stories))])  # fmt: skip
    assert splits[:60] != splits[60:]


def test_the_order_of_the_prompts_does_not_count() -> None:
    contents = [f"{n} + 1?" for n in range(50)]
    assert split(contents[::-1]) == split(contents)[::-1]


@pytest.mark.parametrize(
    ("text", "words"), [("What is 2+2?", "what is 2 2"), ("ＡＢ  c.", "ab c"), ("数学 🙂", "数学"), ("", "")]
)
def test_words_are_normalised_and_digits_stay(text: str, words: str) -> None:
    assert normalised(text) == words
