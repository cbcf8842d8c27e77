"""Where steps end, and what a student sees of the answer before each."""

import pytest

from persyn.rewards.learnability.steps import Window, step_numbers, windows
from tests.unit.rewards.learnability.test_scorer import tiny_tokenizer


def steps(text: str) -> list[str]:
    """The steps of a text, by a tokenizer of one token a byte."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    numbers = step_numbers(tokenizer, ids)
    assert numbers == sorted(numbers)
    assert {*numbers} == {*range(max(numbers, default=-1) + 1)}
    return [
        tokenizer.decode([token for token, number in zip(ids, numbers, strict=True) if number == step])
        for step in sorted({*numbers})
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Half of 4 is 2. So it is 2!", ["Half of 4 is 2.", " So it is 2!"]),
        ("First this.\n\nThen that\nEnd", ["First this.\n\n", "Then that\n", "End"]),
        ("It costs 3.5 in all", ["It costs 3.5 in all"]),
        ("1. Add them\n2. Halve it", ["1. Add them\n", "2. Halve it"]),  # a list's number is no sentence
        ('He said "no." She left?  Yes. \n Fin', ['He said "no."', " She left?", "  Yes. \n ", "Fin"]),
        ("\n\nNow", ["\n\nNow"]),  # white space is no step
        ("word " * 3, ["word " * 3]),
        ("x = 1\n\n", ["x = 1\n\n"]),
        ("", []),
    ],
)
def test_a_step_ends_with_a_sentence_or_a_line(text: str, expected: list[str]) -> None:
    assert steps(text) == expected


def test_a_step_sees_so_many_before_it_and_the_first_ones_need_no_window() -> None:
    numbers = [0, 0, 1, 2, 2, 2, 3]  # begin at 0, 2, 3 and 6
    assert list(windows(numbers, 0)) == [Window(2, 2, 3), Window(3, 3, 6), Window(6, 6, 7)]
    assert list(windows(numbers, 1)) == [Window(2, 3, 6), Window(3, 6, 7)]
    assert list(windows(numbers, 2)) == [Window(2, 6, 7)]
    assert list(windows(numbers, 3)) == []
    assert list(windows([], 1)) == []
