"""Final answers of texts that no reference tells the kind of."""

import pytest

from persyn.rewards.quality.math_check import same_answer
from persyn.rewards.quality.open_answer import open_answer


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("so \\boxed{\\frac{1}{2}}", ("\\frac{1}{2}",)),
        ("3 + 5 = <<3+5=8>>8\n#### 8", ("8",)),
        ("He has **18** left of the 20.", ("18",)),
        ("180 minutes = 3 hours", ("180", "3")),  # either may be meant
        ("The answer is (B) 42 apples.", ("B",)),  # the option, not the number beside it
        ("\\boxed{\\textbf{(C) } 12}", ("C",)),
        ("**Answer:** B. 42", ("B",)),
        ("So the correct option is (B).", ("B",)),
        ("Yes, because 5 > 3.", ("yes",)),
        ("The answer is no.", ("no",)),
        ("No one of them. He has 7 left.", ("7",)),
        ("France had 67 million. The answer is Paris.", ("Paris.",)),  # what is called the answer, not the number
        ("Answer: Jackson is 4 years old.", ("4",)),
        ("The answer is that each of them has to find out alone by whatever means there are.", ()),
        ("\\boxed{\\text{Evelyn}}", ("\\text{Evelyn}",)),
        ("Hello there, this is an essay.", ()),
        ("\\boxed{}", ()),
        ("", ()),
        ("\u200b\u202e\U0001f600 \ue000\uf8ff", ()),
    ],
)
def test_the_final_answer_is_found_whatever_its_kind(text: str, values: tuple[str, ...]) -> None:
    assert open_answer(text).values == values


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1/2", "0.5", True),
        ("x=5", "5", True),
        ("12 apples", "12", True),
        ("x^2+1", "1+x^2", True),
        ("B", "B.", True),
        ("Ann Smith", "Ann", True),  # whichever is held against the other
        ("Paris.", "paris", True),
        ("Paris", "London", False),
        ("yes", "no", False),
        ("5", "Paris", False),
        ("5", "6", False),
        ("B", "42", None),  # 42 may be what option B says
        ("a}", "b{", None),
    ],
)
def test_final_answers_are_compared_both_ways_round(one: str, other: str, same: bool | None) -> None:
    assert same_answer(one, other) is same
    assert same_answer(other, one) is same
