"""`rewards.final_answer`: the number or formula that a text gives as its answer, and how sure that is."""

import pytest

from persyn.rewards.quality.final_answer import NOTHING, FinalAnswer, final_formula, is_formula


@pytest.mark.parametrize(
    ("text", "values", "basis"),
    [
        ("\\boxed{5} and then 6", ("5",), "boxed"),
        ("\\boxed{\\text{The answer is 42}}", ("42",), "boxed"),
        ("\\boxed{}\n#### 7", ("7",), "stated"),
        ("The answer is 72 (which is 8 times 9).", ("72",), "stated"),
        ("The answer is 6 * 12 = 72.", ("6 * 12 = 72.",), "stated"),
        ("The answer is 6 * 12 = 72 pears.", ("72",), "stated"),
        ("The answer is: \\frac{89}{11440}", ("\\frac{89}{11440}",), "stated"),
        ("The answer is\n\n42\n\nAsk me if there is 1 more thing!", ("42",), "stated"),
        ("The answer is based on 3 facts. It is 7.", ("7",), "sentence"),
        ("So **42** pears are left of the 50.", ("42",), "bold"),
        ("**Total (2 days):** 72 clips", ("72",), "sentence"),  # a label emphasises no number
        ("180 minutes = 3 hours", ("180", "3"), "sentence"),
        ("By step 2, it is 7.", ("7",), "sentence"),
        ("48/2 = <<48/2=24>>24 clips", ("24",), "sentence"),
        ("25% of 200 is 50", ("50",), "sentence"),
        ("So 1/3 of the 90 apples are 30 apples.", ("30",), "sentence"),
        ("20 percent of $45 equals $9.", ("9",), "sentence"),
        ("50 is 25% of 200.", ("200",), "last_in_sight"),  # any of the three may be asked for
        ("It takes 45 minutes to run the 6 miles", ("45",), "sentence"),
        ("She needs 12 eggs to bake those 3 cakes.", ("12",), "sentence"),
        ("So, it will take Jane 7 more weeks to save a total of $60.", ("7",), "sentence"),
        ("We need to multiply 5 by 3 to get 15.", ("15",), "last_in_sight"),  # what one gets is the answer
        ("It takes 5 to get 12.", ("12",), "last_in_sight"),
        ("He ran 3 miles to reach 12 miles.", ("12",), "last_in_sight"),
        ("Ann owns 3 and her brother owns 5.", ("5",), "last_in_sight"),
    ],
)
def test_the_asserted_value_is_found(text: str, values: tuple[str, ...], basis: str) -> None:
    assert final_formula(text) == FinalAnswer(values, basis)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "I do not know.", "\\boxed{}", "Is it 5?"])
def test_a_text_may_give_no_answer(text: str) -> None:
    assert final_formula(text) == NOTHING


@pytest.mark.parametrize(("text", "yes"), [("2x + 1", True), ("\\sin x", True), ("5 apples", False), ("", False)])
def test_a_formula_holds_no_words(text: str, yes: bool) -> None:
    assert is_formula(text) is yes
