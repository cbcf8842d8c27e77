"""`rewards.notation`: one way of writing for each value."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.rewards.quality.notation import Literal, in_one_notation, literal


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("\u22125", "-5"), ("1\u2009234\u202f567", "1234567"), ("1 234", "1234"), ("1,234", "1234"),
        ("10,\\!080", "10080"),
        ("1, 234", "1, 234"), ("(1,234)", "(1,234)"), ("\\$0.20", "0.20"), ("-\\$0.50", "-0.50"), ("**5/6**", "5/6"),
        ("5/6.", "5/6"),
        ("90\u00b0", "90"), ("90^\\circ", "90"), ("90 degrees", "90"), ("25 percent", "25\\%"), ("5 cm", "5"),
        ("5\\text{ cm}", "5"),
        ("60 km/h", "60"), ("12 m^2", "12"), ("5x", "5x"), ("1.5e3", "1.5 \\times 10^{3}"), ("\\dfrac12", "\\frac12"),
        ("{1, 2}", "\\{1, 2\\}"), ("27 and 64", "27, 64"), ("x = 2 or x = 3", "2, 3"), ("x = 2, y = 3", "x = 2, y = 3"),
        ("\u221a2", "\\sqrt{2}"), ("12^{\\text{th}}", "12"), ("1 : 2", "1:2"),
        ("2*sqrt(2)", "2*\\sqrt{2}"),
    ],
)  # fmt: skip
def test_a_value_is_written_in_one_way(written: str, same: str) -> None:
    assert in_one_notation(written) == same


def test_lines_of_a_matrix_stay_apart() -> None:
    matrix = "\\begin{pmatrix} 1 \\\\ 2 \\\\\n3 \\end{pmatrix}"
    assert in_one_notation(matrix) == "\\begin{pmatrix} 1 \\\\ 2 \\\\ 3 \\end{pmatrix}"


@pytest.mark.parametrize(
    ("text", "value", "exact"),
    [
        ("-3", Fraction(-3), True), ("0.20", Fraction(1, 5), False), ("5/6", Fraction(5, 6), True),
        (".5", Fraction(1, 2), False),
        ("\\frac{5}{6}", Fraction(5, 6), True), ("-\\frac56", Fraction(-5, 6), True),
        ("1 \\frac{1}{2}", Fraction(3, 2), True),
        ("1 1/2", Fraction(3, 2), True), ("2 \\times 10^{-3}", Fraction(1, 500), True), ("x = 5", Fraction(5), True),
    ],
)  # fmt: skip
def test_a_number_is_read_exactly(text: str, value: Fraction, exact: bool) -> None:
    assert literal(text) == Literal(value, exact, False)


def test_a_percent_sign_is_remembered() -> None:
    assert literal("25\\%") == Literal(Fraction(25), True, True)


@pytest.mark.parametrize("text", ["", "x", "1/0", "9 \\times 10^{9999}", "5x", "1, 2", "2^3", "\\sqrt{2}"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert literal(text) is None


@given(st.integers(-(10**12), 10**12))
def test_every_integer_is_read_back_however_it_is_written(number: int) -> None:
    for written in (f"{number}", f"{number:,}", f"{number:,}".replace(",", "\u2009"), f"{number}.", f"${number}$"):
        assert literal(in_one_notation(written)) == Literal(Fraction(number), True, False)


@given(st.text(max_size=60))
def test_any_text_can_be_brought_into_one_notation(text: str) -> None:
    literal(in_one_notation(text))
