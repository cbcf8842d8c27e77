import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.thoughts import split


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("The answer is 4.", "The answer is 4.", None),
        ("<think>\n2+2\n</think>\n\nThe answer is 4.", "The answer is 4.", "2+2"),
        ("<thinking>2+2</thinking>4", "4", "2+2"),
        ("\n <Think>2+2</Think> 4", "4", "2+2"),
        ("[THINK]2+2[/THINK]4", "4", "2+2"),
        ("<think>\n\n</think>\n\n4", "4", None),  # a model that was told not to think
        ("2+2 is 4.\n</think>\n4", "4", "2+2 is 4."),  # the template opened the thoughts
        ("<think>2+2 is", "", "2+2 is"),  # cut while it thought
        ("<think>a</think>b<think>c</think>d", "bd", "a\n\nc"),
        ("Sure.\n<think>a</think>\n4", "Sure.\n\n4", "a"),
        ("4\n<think>but then", "4", "but then"),
        ("<think>a</think><think>b", "", "a\n\nb"),
        ("<think>a <think>b</think> c</think> 4", "4", "a <think>b\n\nc"),
        ("<think>it`s</think>it`s 4", "it`s 4", "it`s"),
        ("```python\nx = 2\n</think>4", "4", "```python\nx = 2"),  # thoughts that leave a block of code open
        # An answer about the tags keeps them.
        ("Close it with `</think>`.", "Close it with `</think>`.", None),
        ("Write <think> first.", "Write <think> first.", None),
        ("```\n<think>\nx\n</think>\n```\nis the form.", "```\n<think>\nx\n</think>\n```\nis the form.", None),
        ("<think>a</think>Write `<think>`.", "Write `<think>`.", "a"),
    ],
)
def test_thoughts_are_told_from_the_answer(text: str, answer: str, reasoning: str | None) -> None:
    assert split(text) == (answer, reasoning)


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("4", "2+2", ("4", "2+2")),
        ("<think>again</think>4", "2+2", ("4", "2+2\n\nagain")),
        (" 4 ", "  \n", (" 4 ", None)),  # white space is no thought, and no reason to touch the answer
        (" 4 ", " 2+2 ", (" 4 ", "2+2")),
    ],
)
def test_what_the_server_split_off_comes_first(text: str, given: str, expected: tuple[str, str | None]) -> None:
    assert split(text, given) == expected


pieces = st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "`", "```", "\n", "a", " "]), max_size=30)


@given(pieces)
def test_nothing_that_was_said_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    answer, reasoning = split(text)
    assert (answer + (reasoning or "")).count("a") == text.count("a")


def test_a_hostile_text_is_split_in_time() -> None:
    for text in ("<think>" * 200_000, "</think>" * 20_000, "a <think>" * 100_000 + "</think>", "`" * 300_000):
        split(text)
