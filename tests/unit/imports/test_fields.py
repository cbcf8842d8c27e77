"""Where fields are read: templates, `####`, and boxes whose braces nest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.errors import ConfigError
from persyn.imports.fields import Refused, after_hashes, boxed, last_box, template


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("{a}\\n\\n{b}", {"a": "one", "b": "two"}, "one\n\ntwo"),
        ("{a}\\n\\n{b}", {"a": "one", "b": ""}, "one"),
        ("{a}\\n\\n{b}", {"a": "one"}, "one"),
        ("{a}\\n\\n{b}", {"b": "two"}, "two"),
        ("{a}\\n\\n{b}", {}, None),
        ("Say {a} {n} times.", {"a": "hi", "n": 3}, "Say hi 3 times."),
        ("{{{a}}}", {"a": "x"}, "{x}"),
    ],
)
def test_a_template_joins_columns_and_an_empty_one_leaves_no_trace(
    text: str, values: dict[str, object], expected: str | None
) -> None:
    assert template(text).read(values) == expected


def test_a_templates_column_that_is_no_text_is_refused() -> None:
    with pytest.raises(Refused, match="a is not a text"):
        template("{a}").read({"a": ["x"]})


@pytest.mark.parametrize("text", ["{", "{}", "{a!r}", "{a:>3}", "a}"])
def test_a_template_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--map"):
        template(text)


@pytest.mark.parametrize(("solution", "answer"), [("1+1=2\n#### 2", "2"), ("#### 1\n#### 1,500 ", "1,500")])
def test_the_answer_stands_after_the_last_hashes(solution: str, answer: str) -> None:
    assert after_hashes("s").read({"s": solution}) == answer


@pytest.mark.parametrize("solution", ["just words", 72, None])
def test_a_solution_without_hashes_says_how_to_take_it_whole(solution: object) -> None:
    with pytest.raises(Refused, match="--map reference_answer=s"):
        after_hashes("s").read({"s": solution})


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so $\boxed{\frac{5}{6}}$.", r"\frac{5}{6}"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"a set \boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"an open brace \boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"a word $\boxed 7$.", "7"),
        (r"an old one: \boxed{1}, or rather \fbox{12}.", "12"),
        (r"whole \boxed{3} and cut \boxed{\frac{1}", "3"),
        ("no box", None),
        (r"\boxed{}", None),
        (r"\boxed", None),
    ],
)
def test_the_last_whole_box_is_the_answer(solution: str, answer: str | None) -> None:
    assert boxed("s").read({"s": solution}) == answer


@given(
    st.recursive(
        st.text("ab ", max_size=3), lambda inner: st.lists(inner, max_size=3).map("".join).map("{{{}}}".format)
    )
)
def test_balanced_braces_are_kept_whole(inside: str) -> None:
    assert last_box(f"x \\boxed{{{inside}}} }} y") == (inside.strip() or None)


@given(st.text("\\boxed{}$ 1"))
def test_any_text_has_a_box_or_none(text: str) -> None:
    assert last_box("\\boxed" + text) is None or isinstance(last_box("\\boxed" + text), str)
