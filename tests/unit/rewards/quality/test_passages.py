"""`rewards.passages`: where an answer may stand in a text, and in which order it is looked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.rewards.quality.passages import masked, passages, sentences, without_thoughts


def found(text: str) -> list[tuple[str, str]]:
    whole = masked(text)
    return [(passage.place, whole.unmasked(passage.text)) for passage in passages(whole)]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("<think>a</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("a</think>b", "b"),  # servers leave the beginning out
        ("b<think>a", "b"),  # cut within the thoughts
        ("<Thinking>a\n\n</Thinking>\nb", "\nb"),
        ("I think so", "I think so"),
    ],
)
def test_thoughts_are_left_out(text: str, spoken: str) -> None:
    assert without_thoughts(text) == spoken


def test_boxes_come_before_statements_and_these_before_sentences_each_from_the_end() -> None:
    text = "\\boxed{1} it was. The answer is 2. So \\boxed{3}. It is 4."
    assert [place for place, _ in found(text)[:3]] == ["boxed", "boxed", "stated"]
    assert [content for _, content in found(text)[:4]] == ["3", "1", "2.", "It is 4."]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\fbox{5}", "5"),
        ("\\boxed 5", "5"),
        ("boxed{5}", "5"),  # the backslash is lost on the way through some formats
        ("$x = \\boxed{2}$ or $x = \\boxed{3}$", "2, 3"),
        ("\\boxed{2}, \\boxed{3}", "2, 3"),
        ("\\boxed{2}\n\nAgain: \\boxed{2}", "2"),
        ("\\boxed{\\text{\\boxed{7}}}", "\\text{7}"),
        ("\\boxed{5", "5"),
    ],
)
def test_a_box_is_read_with_its_braces_and_its_neighbours(text: str, content: str) -> None:
    assert found(text)[0] == ("boxed", content)


@pytest.mark.parametrize(
    "text", ["#### 5", "A: 5", "Answer: 5", "**Answer:** 5", "The answer is 5", "So my final answer = 5"]
)
def test_a_statement_is_known_by_its_words(text: str) -> None:
    assert found(text)[0] == ("stated", "5")


@pytest.mark.parametrize(
    "text", ["The answer is not 5.", "He wrote the answers in 5 books.", "Required correct answers: all"]
)
def test_other_sentences_about_answers_state_none(text: str) -> None:
    assert found(text)[0][0] == "sentence"


def test_small_talk_and_questions_assert_nothing() -> None:
    text = "It is 5. I hope this helps! Let me know if 6 is unclear. Shall I explain step 7?"
    assert sentences(text) == ["It is 5."]


def test_decimals_and_short_forms_end_no_sentence() -> None:
    assert sentences("At 9 a.m. it was 2.5 miles. Then 3.") == ["At 9 a.m. it was 2.5 miles.", "Then 3."]


def test_two_amounts_of_dollars_are_no_formula() -> None:
    assert masked("from $5 to $18").formulas == []
    assert masked("from $5$ to $18$").formulas == ["5", "18"]


def test_of_an_aligned_derivation_the_last_line_counts() -> None:
    assert masked("\\begin{align*} x &= 2 + 3 \\\\ &= 5 \\end{align*}").formulas == ["= 5"]


@given(st.text(alphabet="\\boxed{}$()[] #\n.19a<think>/=*", max_size=120))
def test_any_text_can_be_searched(text: str) -> None:
    whole = masked(without_thoughts(text))
    for passage in passages(whole):
        whole.unmasked(passage.text)
