"""`rewards.math_check`: pairs of a reference and an answer, with the verdict that a person would give."""

import pytest

from persyn.rewards.quality.math_check import TAIL, asked_for, check, same_value

RIGHT = [
    ("180", "There are 180 minutes in 3 hours."),
    ("3", "180 minutes = 3 hours"),
    ("168", "In 7 days there are 168 hours."),
    ("24", "After giving 6 of the 30 away, Tom has 24 cards."),
    ("42", "Of the 50 pears, 42 are left."),
    ("42", "So __42__ pears are left of the 50."),
    ("42", "The total is 42 pears.\n\nWould you like me to show 2 other ways?"),
    ("42", "The total is 42 pears. Feel free to ask if you have 1 more question!"),
    ("5", "\\boxed{4} was my first guess, but \\boxed{5} is right."),
    ("2,3", "x = \\boxed{2} or x = \\boxed{3}"),
    ("2,3", "$\\boxed{2}$ and $\\boxed{3}$"),
    ("18", "\\boxed{\\text{There are 18 marbles}}"),
    ("18", "\\boxed{18 \\text{ marbles}}"),
    ("(3,-1)", "The point is (3, −1)."),
    ("(3,-1)", "\\boxed{(3,-1)}"),
    ("\\{1,2,3\\}", "The solutions are {3, 2, 1}."),
    ("{1, 2, 3}", "The solutions are 1, 2, and 3."),
    ("[1, 2]", "The list is [1, 2]."),
    ("27 and 64", "The numbers are 64 and 27."),
    ("27, 64", "27 and 64"),
    ("B", "B"),
    ("B", "(B)"),
    ("B", "B."),
    ("B", "B) 42"),
    ("B", "Answer: B"),
    ("B", "The correct answer is **B**."),
    ("B", "**(B) 42**"),
    ("B", "Option B is correct."),
    ("B", "\\boxed{\\text{B}}"),
    ("B", "\\boxed{\\textbf{(B)}\\ 42}"),
    ("(B)", "The answer is B."),
    ("\\text{(B)}", "The answer is B."),
    ("A", "The answer is A."),
    ("B", "The answer is B, because 6*7 = 42."),
    ("Paris", "Paris"),
    ("Paris", "**Paris**"),
    ("Paris", "The answer is Paris."),
    ("Paris", "\\boxed{\\text{Paris}}"),
    ("Yes", "The answer is yes."),
    ("Yes", "yes"),
    ("No", "No, it isn't."),
    ("True", "The statement is true."),
    ("no solution", "There is no solution."),
    ("\\text{Monday}", "It will be a Monday."),
    ("The answer is: 42", "42"),
    ("The final answer is \\boxed{42}.", "The answer is 42."),
    ("6*7 = 42\n#### 42", "The answer is 42."),
    ("\\frac{5}{6}", "The answer is $\\frac{5}{6}$."),
    ("\\frac{5}{6}", "5/6."),
    ("\\frac{5}{6}", "`5/6`"),
    ("\\frac{5}{6}", "*5/6*"),
    ("\\frac56", "\\boxed{\\dfrac{5}{6}}"),
    ("1\\frac{1}{2}", "The answer is 1 1/2."),
    ("1\\frac{1}{2}", "The answer is 3/2"),
    ("1\\frac{1}{2}", "The answer is 1.5."),
    ("\\$0.20", "It costs $0.20."),
    ("\\$0.20", "The answer is 0.2"),
    ("-\\$0.50", "The answer is -$0.50."),
    ("-\\$0.50", "The answer is $-0.50$."),
    ("-\\$0.50", "\\boxed{-0.5}"),
    ("\\$1,234.00", "The answer is $1,234."),
    ("-5", "The answer is −5."),
    ("-5", "\\boxed{−5}"),
    ("1234567", "The answer is 1 234 567."),
    ("1234567", "The answer is 1 234 567."),
    ("1234567", "The answer is 1,234,567."),
    ("1234567", "\\boxed{1\\,234\\,567}"),
    ("2\\pi", "The area is 2π."),
    ("2\\pi", "The answer is 2π cm²."),
    ("3\\sqrt{2}", "The answer is 3√2."),
    ("\\sqrt{2}", "The length is √2."),
    ("90", "The angle is 90°."),
    ("90^\\circ", "The angle is 90 degrees."),
    ("90°", "\\boxed{90^\\circ}"),
    ("1500", "The answer is 1.5e3."),
    ("1.5e-3", "The answer is 0.0015."),
    ("3 \\times 10^8", "The answer is 3e8."),
    ("3e8", "The answer is $3 \\times 10^8$ m/s."),
    ("25%", "The answer is 25%."),
    ("25\\%", "The answer is 25."),
    ("25%", "The answer is 0.25"),
    ("25", "The answer is 25 percent."),
    ("12.5%", "The answer is 12.5"),
    ("5 cm", "The answer is 5."),
    ("5 cm", "The answer is 5 cm."),
    ("5\\text{ cm}", "The answer is 5 centimeters."),
    ("18 dollars", "She earns $18."),
    ("60 km/h", "The speed is 60 km/h."),
    ("12 m^2", "The area is 12 m²."),
    ("0.0000001", "The answer is 0.0000001."),
    ("1/3", "The answer is 0.333333."),
    ("42", "<think>maybe \\boxed{5}</think>The answer is 42."),
    ("42", "maybe \\boxed{5}</think>\n\n42"),
    ("x^2+1", "The answer is x^2 + 1."),
    ("x^2+1", "The polynomial is $1 + x^2$."),
    ("(-\\infty, 2)", "The answer is (-∞, 2)."),
    ("(-\\infty, 2]", "The answer is $(-\\infty, 2]$."),
    ("x = 5", "The answer is 5."),
    ("5", "x = 5"),
    ("5", "Therefore, x = 5."),
    ("10", "**Answer:** 10 apples"),
    ("10", "### Final Answer\n\n10"),
    ("10", "Final answer:\n**10**"),
    ("10", "The final answer is $10$. I hope it is correct."),
    ("72", "She sold 48 + 24 = 72 clips."),
    ("72", "48 + 24 = 72 clips altogether in April and May"),
    ("9 a.m.", "The answer is 9 a.m."),
    ("17", "17"),
    ("17", "17.0"),
    ("35", "The price went up by 15 dollars from 20, so it is 35 dollars."),
    ("35", "It costs 35 dollars (15 more than before)."),
    ("3", "Answer: 3 (three)"),
    ("120", "Therefore, 120 people attended the concert on 3 days."),
    ("4", "She needs 4 more boxes to hold all 24 eggs."),
    ("20", "He pays 4 * 5 = 20."),
    ("x=2, y=3", "x = 2 and y = 3"),
    ("\\frac{1}{2}", "0.5"),
    ("\\frac{1}{2}", "\\boxed{.5}"),
    ("1:2", "The ratio is 1:2."),
    ("10:30", "The answer is 10:30."),
]

WRONG = [
    ("3", "There are 180 minutes in 3 hours."),
    ("7", "In 7 days there are 168 hours."),
    ("4", "\\boxed{4} was my first guess, but \\boxed{5} is right."),
    ("3", "$\\boxed{2}$ and $\\boxed{3}$"),
    ("(3,-1)", "The point is (-1, 3)."),
    ("{1, 2}", "The solutions are {1, 2, 3}."),
    ("27 and 64", "The numbers are 27 and 63."),
    ("B", "The answer is not B but C."),
    ("B", "It cannot be B, so it must be D."),
    ("A", "A train needs 3 hours, so the answer is (C)."),
    ("Paris", "The answer is London."),
    ("Paris", "It is not Paris but London."),
    ("Paris", "I first thought of Paris, but the answer is London."),
    ("Yes", "No, it is not."),
    ("True", "The statement is not true."),
    ("42", "\\boxed{\\text{no solution}}"),
    ("-\\$0.50", "\\boxed{0.5}"),
    ("\\sqrt{2}", "The length is √3."),
    ("0.0000001", "The answer is 0.0000002."),
    ("1e-9", "The answer is 2e-9"),
    ("2 \\times 10^{-7}", "\\boxed{3 \\times 10^{-7}}"),
    ("0.000001", "0.0000014"),
    ("1/3", "The answer is 0.33."),
    ("10000001", "10000002"),
    ("3.14159", "The answer is 3.14158."),
    ("5", "<think>maybe \\boxed{5}</think>The answer is 42."),
    ("42", "<think>\\boxed{42}"),
    ("x^2+1", "\\boxed{x^2-1}"),
    ("(-\\infty, 2]", "The answer is $(-\\infty, 2)$."),
    ("9 a.m.", "The answer is 9 p.m."),
    ("17", "I do not know."),
    ("17", ""),
    ("B", "I do not know."),
    ("Yes", "I do not know."),
    ("Paris", "I do not know."),
    ("10:30", "The answer is 10:45."),
]

UNCHECKED = [
    ("The function is increasing on every interval", "It grows."),
    ("B", "The answer is 42."),
]


@pytest.mark.parametrize(("reference", "answer"), RIGHT)
def test_an_answer_that_asserts_the_reference_is_right(reference: str, answer: str) -> None:
    assert check(answer, reference)["value"] == 1.0


@pytest.mark.parametrize(("reference", "answer"), WRONG)
def test_an_answer_that_asserts_something_else_or_nothing_is_wrong(reference: str, answer: str) -> None:
    assert check(answer, reference)["value"] == 0.0


@pytest.mark.parametrize(("reference", "answer"), UNCHECKED)
def test_what_cannot_be_compared_gets_no_value_and_a_reason(reference: str, answer: str) -> None:
    verdict = check(answer, reference)
    assert verdict["value"] is None
    assert verdict["reason"]


@pytest.mark.parametrize(
    ("answer", "reference", "basis"),
    [
        ("It is \\boxed{72}", "72", "boxed"),
        ("#### 72", "72", "stated"),
        ("So **72** clips of the 90.", "72", "bold"),
        ("There are 72 clips.", "72", "sentence"),
        ("Ann has 12 and her brother Bob got 72", "72", "last_in_sight"),  # a guess: two values are asserted
        ("It must be blue.", "blue", "text"),  # a guess: the sentence may say anything about blue
        ("\\boxed{\\text{blue}}", "blue", "boxed"),
        ("I do not know.", "72", "nothing"),
    ],
)
def test_the_detail_says_what_the_verdict_rests_on(answer: str, reference: str, basis: str) -> None:
    assert check(answer, reference)["detail"]["basis"] == basis


def test_what_stands_before_the_tail_is_not_read() -> None:
    assert check("72" + " " * TAIL + "or 71", "72")["value"] == 0.0


def test_the_detail_stays_short() -> None:
    detail = check("9" * 900, "72")["detail"]
    assert max(len(text) for text in detail.values()) <= 200


def test_a_reference_that_is_a_solution_asks_for_its_final_answer() -> None:
    assert asked_for("6 * 12 = <<6*12=72>>72\n#### 72") == "72"
    assert asked_for("We get $\\boxed{\\frac{1}{2}}$.") == "\\frac{1}{2}"
    assert asked_for(" 72 ") == "72"


def test_a_matrix_is_compared_entry_by_entry() -> None:
    matrix = "\\begin{pmatrix} 1/2 \\\\ -3 \\end{pmatrix}"
    assert same_value(matrix, "\\begin{pmatrix}\n\\frac{1}{2} \\\\\n-3\n\\end{pmatrix}") is True
    assert same_value(matrix, "\\begin{pmatrix} 1/2 \\\\ 3 \\end{pmatrix}") is False
