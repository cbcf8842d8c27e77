"""`rewards.worded_answer`: options, yes and no, and words."""

import pytest

from persyn.rewards.quality.worded_answer import admits_ignorance, compare_words, final_choice, final_polarity


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B)", "B"), ("B) 42", "B"), ("**B**", "B"), ("The answer is (C), not B.", "C"), ("So option D it is.", "D"),
        ("I thought of B, but the answer is (C).", "C"), ("\\boxed{\\textbf{(E)}\\ 23}", "E"),
        ("It is neither B nor C, hence D.", "D"), ("\\boxed{A, C}", "A, C"),
    ],
)  # fmt: skip
def test_the_option_that_is_chosen_is_found(text: str, letter: str) -> None:
    assert final_choice(text).values == (letter,)


@pytest.mark.parametrize("text", ["A train leaves.", "I do not know.", "So $B = 5$ holds.", "It is 5."])
def test_an_article_a_pronoun_and_a_variable_are_no_option(text: str) -> None:
    assert final_choice(text).values == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes, it is.", "yes"), ("So no.", "no"), ("The statement is not true.", "false"), ("**True**", "true"),
        ("It is even. Therefore, yes.", "yes"), ("The answer is No.", "no"),
    ],
)  # fmt: skip
def test_yes_and_no_are_found(text: str, word: str) -> None:
    assert final_polarity(text).values == (word,)


@pytest.mark.parametrize(
    ("text", "reference", "same", "basis"),
    [
        ("\\boxed{\\text{Paris}}", "Paris", True, "boxed"),
        ("The answer is the Paris.", "Paris", True, "stated"),
        ("The capital is Paris.", "Paris", True, "text"),
        ("The capital is not Paris.", "Paris", False, "text"),
        ("The answer is Ann and Bob.", "Ann", False, "text"),
        ("The answer is no real solutions.", "no solution", None, "text"),  # other words, perhaps the same
        ("\\boxed{\\emptyset}", "no solution", None, "text"),
        ("\\boxed{7}", "no solution", False, "text"),
        ("Paris is old. It lies on the Seine.", "Paris", None, "text"),  # said, but perhaps not as the answer
        ("", "Paris", False, "nothing"),
    ],
)
def test_words_are_compared_as_words(text: str, reference: str, same: bool | None, basis: str) -> None:
    verdict = compare_words(text, reference)
    assert (verdict.same, verdict.basis) == (same, basis)


def test_who_admits_to_know_nothing_is_understood() -> None:
    assert admits_ignorance("I don't know.")
    assert not admits_ignorance("I know.")
