import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.config import fingerprint
from persyn.imports.answer_records import ImportedAnswer, Pool, PromptIdentity, answers, identity

POOL = Pool({"small": 1, "large": 2}, scorer_id=7)


def test_an_answer_brings_its_text_its_counts_and_its_quality() -> None:
    full = {"text": "42", "reasoning": "6*7", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 1}
    got = list(answers({"responses": {"small": full | {"quality": 1}, "large": "forty-two"}}, POOL))
    assert got == [
        ImportedAnswer(1, "42", "6*7", "stop", 3, 1, 1.0),
        ImportedAnswer(2, "forty-two", None, "unknown", None, None, None),
    ]


def test_thoughts_in_the_text_of_an_answer_are_split_off() -> None:
    (got,) = answers({"responses": {"small": {"text": "<think>6*7</think>42", "reasoning": "First."}}}, POOL)
    assert isinstance(got, ImportedAnswer)
    assert (got.text, got.reasoning) == ("42", "First.\n\n6*7")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (None, "neither a text nor an object"),
        (["a"], "neither a text nor an object"),
        ({}, "no text"),
        ({"text": 5}, "no text"),
        ({"text": "a", "qualty": 1}, "unknown key 'qualty'"),
        ({"text": "a", "quality": "good"}, "not a number"),
        ({"text": "a", "quality": True}, "not a number"),
        ({"text": "a", "quality": 1.5}, "1.5 is outside of 0 to 1"),
        ({"text": "a", "quality": -0.01}, "outside"),
        ({"text": "a", "quality": 10**400}, "outside"),
        ({"text": "a", "completion_tokens": -1}, "completion_tokens is not a count"),
        ({"text": "a", "prompt_tokens": 1.5}, "prompt_tokens is not a count"),
        ({"text": "a", "finish_reason": 1}, "finish_reason is not a text"),
    ],
)
def test_a_refused_answer_says_whose_it_is_and_why_and_leaves_its_neighbour_alone(
    response: object, reason: str
) -> None:
    wrong, good = answers({"responses": {"small": response, "large": {"text": "b"}}}, POOL)
    assert isinstance(wrong, str)
    assert wrong.startswith("small: ")
    assert reason in wrong
    assert isinstance(good, ImportedAnswer)


def test_an_unknown_teacher_is_told_who_there_is() -> None:
    (refused,) = answers({"responses": {"huge": {"text": "a"}}}, POOL)
    assert refused == "huge: the run has no teacher of this name; it has small, large"


def test_a_quality_that_no_scorer_would_take_is_not_dropped_in_silence() -> None:
    (refused,) = answers({"responses": {"small": {"text": "a", "quality": 1}}}, POOL._replace(scorer_id=None))
    assert isinstance(refused, str)
    assert "no quality scorer of the kind imported" in refused


@pytest.mark.parametrize("responses", [None, [], {}, "text"])
def test_a_record_without_answers_says_so(responses: object) -> None:
    assert list(answers({"responses": responses}, POOL)) == ["responses is not an object of answers by teacher"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": "a"}, PromptIdentity("a", None)),
        ({"id": 7}, PromptIdentity("7", None)),
        # the messages decide, whatever the id
        ({"id": "a", "prompt": "1+1?"}, PromptIdentity("a", fingerprint([{"role": "user", "content": "1+1?"}]))),
        ({"responses": {}}, "has neither id nor prompt nor messages"),
        ({"id": ["a"]}, "id is not a string or a number"),
        ({"id": "a", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "has both prompt and messages"),
        ({"id": "a", "responses": {"small": {"text": "\0"}}}, "holds a NUL character"),
        ("text", "not an object"),
    ],
)
def test_a_record_names_its_prompt_or_says_why_not(record: object, expected: object) -> None:
    assert identity(record) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_nothing_that_a_file_holds_raises(value: object) -> None:
    identity(value)
    list(answers({"responses": value}, POOL))
    list(answers({"responses": {"small": value}}, POOL))
    for answer in answers({"responses": {"small": {"text": "a", "quality": value}}}, POOL):
        assert isinstance(answer, str) or json.dumps(answer.quality, allow_nan=False)
