"""`rewards.values`: the numbers and formulas in a sentence, and which of them it asserts."""

import pytest

from persyn.rewards.quality.passages import masked
from persyn.rewards.quality.values import asserted, both_sides, values_in


def read(sentence: str) -> list[str]:
    whole = masked(sentence)
    return [whole.unmasked(whole.text[value.start : value.end]) for value in values_in(whole.text, whole)]


def pick(sentence: str) -> tuple[list[str], bool]:
    whole = masked(sentence)
    group, certain = asserted(whole.text, values_in(whole.text, whole))
    return [whole.unmasked(whole.text[value.start : value.end]) for value in group], certain


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        ("16 - 3 - 4 = 9; 9 * 2 = 18 dollars", ["16 - 3 - 4", "9", "9 * 2", "18"]),
        ("The point is (3, -1), the set {1, 2}, the list [4, 5].", ["(3, -1)", "{1, 2}", "[4, 5]"]),
        ("It costs $1,234.50 or 5%.", ["1,234.50", "5%"]),
        ("It is 1\u2009234 m.", ["1\u2009234"]),
        ("It is $\\frac{1}{2}$ of \\frac{3}{4}.", ["\\frac{1}{2}", "\\frac{3}{4}"]),
        ("It is 2\u03c0, 3\u221a2 or 1.5e3.", ["2\u03c0", "3\u221a2", "1.5e3"]),
        ("The polynomial is x^2 + 1 with $x$ real.", ["x^2 + 1"]),  # a variable is no value
        ("It is a 5-minute walk.", ["5"]),
        ("No number at all.", []),
    ],
)
def test_values_are_read_as_they_are_written(sentence: str, values: list[str]) -> None:
    assert read(sentence) == values


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("There are 180 minutes in 3 hours.", "180"),
        ("In 40 seconds, the turtle can crawl 120 feet.", "120"),
        ("She has 18 marbles after she gave 7 of the 25 away.", "18"),
        ("72 clips (48 in April and 24 in May)", "72"),
        ("He can run the 400-meter hurdles in 36 seconds, that is 36.", "36"),
        ("200 (original toys) - 150 (toys given away) = 50 toys remaining.", "50"),
        ("720 grams will last for 2 days.", "2"),
        ("The horse #12 won 16 races.", "16"),
        ("She must get 35 questions right to move on to the 7th grade.", "35"),
        ("She sold 72 clips in total, 48 in April and 24 in May.", "72"),
        ("Since the three ran 52 miles in total, Ann ran 52 - 36 = 16 miles.", "16"),
        ("It is 3 hours.", "3"),
    ],
)
def test_a_value_in_a_minor_place_is_not_asserted(sentence: str, value: str) -> None:
    assert pick(sentence)[0] == [value]


def test_values_that_only_and_parts_are_one_answer() -> None:
    assert pick("The numbers are 27 and 64.") == (["27", "64"], True)
    assert pick("So x = 2 or x = 3.") == (["2", "3"], True)


def test_two_asserted_values_are_a_guess() -> None:
    assert pick("Ann owns 3 and her brother owns 5.") == (["5"], False)


@pytest.mark.parametrize(
    ("sentence", "sides"), [("180 minutes = 3 hours", 2), ("6 * 12 = 72 clips", 0), ("x = 5 hours", 0), ("5 hours", 0)]
)
def test_either_side_of_an_equation_of_quantities_may_be_meant(sentence: str, sides: int) -> None:
    whole = masked(sentence)
    assert len(both_sides(whole.text, values_in(whole.text, whole))) == sides
