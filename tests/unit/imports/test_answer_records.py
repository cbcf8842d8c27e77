import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.config import fingerprint
from persyn.imports.answer_records import ImportedAnswer, Pool, PromptIdentity, answers, identity
from persyn.imports.conversation import SourceAnswer
from persyn.imports.prompt_records import json_text
from persyn.imports.reading import Reading

POOL = Pool({"small": 1, "large": 2}, scorer_id=7)
PROMPT = PromptIdentity("p", None)


def read(record: object, pool: Pool = POOL, teacher: str | None = None) -> list[ImportedAnswer | str]:
    reading = Reading()
    prompt = identity(record, reading)
    return list(answers(record, PROMPT if isinstance(prompt, str) else prompt, reading, pool, teacher))


def test_an_answer_brings_its_text_its_counts_and_its_quality() -> None:
    full = {"text": "42", "reasoning": "6*7", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 1}
    got = read({"id": 1, "responses": {"small": full | {"quality": 1}, "large": "forty-two"}})
    assert got == [
        ImportedAnswer(1, "42", "6*7", "stop", 3, 1, 1.0),
        ImportedAnswer(2, "forty-two", None, "unknown", None, None, None),
    ]


def test_thoughts_in_the_text_of_an_answer_are_split_off() -> None:
    (got,) = read({"id": 1, "responses": {"small": {"text": "<think>6*7</think>42", "reasoning": "First."}}})
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
    wrong, good = read({"id": 1, "responses": {"small": response, "large": {"text": "b"}}})
    assert isinstance(wrong, str)
    assert wrong.startswith("small: ")
    assert reason in wrong
    assert isinstance(good, ImportedAnswer)


def test_an_unknown_teacher_is_told_who_there_is() -> None:
    (refused,) = read({"id": 1, "responses": {"huge": {"text": "a"}}})
    assert refused == "huge: the run has no teacher of this name; it has small, large"


def test_a_quality_that_no_scorer_would_take_is_not_dropped_in_silence() -> None:
    (refused,) = read({"id": 1, "responses": {"small": {"text": "a", "quality": 1}}}, POOL._replace(scorer_id=None))
    assert isinstance(refused, str)
    assert "no quality scorer of the kind imported" in refused


@pytest.mark.parametrize("responses", [[], {}, "text"])
def test_a_record_without_answers_says_so(responses: object) -> None:
    assert read({"id": 1, "responses": responses}) == ["responses is not an object of answers by teacher"]
    assert read({"id": 1})[0] == "has no answer: neither responses by teacher nor a last turn of the assistant"


CHAT = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2", "reasoning": "easy"}]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": CHAT}, ("2", "easy")),
        ({"instruction": "1+1?", "input": "", "output": "two"}, ("two", None)),
        ({"question": "1+1?", "answer": "It is #### 2"}, ("It is #### 2", None)),
        ({"prompt": "1+1?", "completion": CHAT[1:]}, ("2", "easy")),
        ({"prompt": "1+1?", "chosen": CHAT, "rejected": CHAT}, ("2", "easy")),
    ],
)
def test_the_answer_of_a_source_becomes_that_of_the_teacher_whom_the_user_names(
    record: object, expected: tuple[str, str | None]
) -> None:
    (answer,) = read(record, teacher="large")
    assert isinstance(answer, ImportedAnswer), answer
    assert (answer.teacher_id, answer.text, answer.reasoning) == (2, *expected)
    assert read(record) == ["has an answer without a teacher's name; --answers-as TEACHER gives it one"]


def test_the_completions_of_ultrafeedback_are_answers_with_scores_in_the_scorers_range() -> None:
    completions = [
        {"model": "small", "response": "a", "overall_score": 6.0, "critique": "fine"},
        {"model": "large", "response": "b", "overall_score": None},
        {"model": "other", "response": "c"},
    ]
    record = {"instruction": "x", "completions": completions}
    wide = POOL._replace(maximum=10.0)
    small, large, other = read(record, wide)
    assert isinstance(small, ImportedAnswer)
    assert isinstance(large, ImportedAnswer)
    assert (small.text, small.quality, large.text, large.quality) == ("a", 6.0, "b", None)
    assert str(other).startswith("other: the run has no teacher of this name")
    assert read(record, POOL)[0] == "small: quality 6 is outside of 0 to 1"
    assert isinstance(first := read(record, POOL._replace(scorer_id=None))[0], ImportedAnswer)
    assert first.quality is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": "a"}, PromptIdentity("a", None)),
        ({"id": 7}, PromptIdentity("7", None)),
        # the messages decide, whatever the id
        ({"id": "a", "prompt": "1+1?"}, PromptIdentity("a", fingerprint([{"role": "user", "content": "1+1?"}]))),
        ({"messages": CHAT}, PromptIdentity(None, fingerprint(CHAT[:1]), SourceAnswer("2", "easy"))),
        ({"responses": {}}, "has no id, and has neither prompt nor messages, but responses; try --map prompt=COLUMN"),
        ({"id": ["a"]}, "id is not a string or a number"),
        ({"id": "a", "responses": {"small": {"text": "\0"}}}, "holds a NUL character"),
        (5, "not an object"),
    ],
)
def test_a_record_names_its_prompt_or_says_why_not(record: object, expected: object) -> None:
    assert identity(record, Reading()) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_nothing_that_a_file_holds_raises(value: object) -> None:
    for record in (
        value,
        {"responses": value},
        {"id": 1, "responses": {"small": value}},
        {"prompt": "a", "completion": value},
    ):
        read(record, teacher="small")
    for answer in read({"id": 1, "responses": {"small": {"text": "a", "quality": value}}}):
        assert isinstance(answer, str) or json.dumps(answer.quality, allow_nan=False)


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def test_an_answer_may_call_a_tool_with_or_without_a_text() -> None:
    got = read({"id": 1, "responses": {"small": {"tool_calls": [CALL]}, "large": {"text": "b", "tool_calls": "add"}}})
    assert got[0] == ImportedAnswer(1, "", None, "unknown", None, None, None, json_text([CALL]))
    assert got[1] == "large: tool_calls is no list of calls"


def test_a_conversation_that_ends_with_a_call_brings_it_as_its_answer() -> None:
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    (got,) = read({"messages": turns, "tools": [{"name": "add"}]}, teacher="small")
    assert got == ImportedAnswer(1, "", None, "unknown", None, None, None, json_text([CALL]))
