from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.inference.clients.replies import Reply, read

ANSWER = "The answer is 4."


def reply(message: Any, finish_reason: Any = "stop", usage: Any = None) -> Reply | None:
    return read({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage})


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": ANSWER}, ANSWER, None),
        ({"content": [{"type": "text", "text": "The answer "}, {"type": "text", "text": "is 4."}]}, ANSWER, None),
        ({"content": ["The answer ", "is 4."]}, ANSWER, None),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": ANSWER}]},
            ANSWER,
            "hm",
        ),
        ({"content": ANSWER, "reasoning_content": "hm"}, ANSWER, "hm"),
        ({"content": ANSWER, "reasoning": "hm"}, ANSWER, "hm"),
        ({"content": ANSWER, "reasoning": {"effort": "low", "summary": None}}, ANSWER, None),
        ({"content": ANSWER, "reasoning": {"summary": [{"type": "summary_text", "text": "hm"}]}}, ANSWER, "hm"),
        ({"content": ANSWER, "reasoning": 3, "reasoning_content": ""}, ANSWER, None),
        ({"content": ANSWER, "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, ANSWER, "hm"),
        ({"content": f"<think>hm</think>{ANSWER}"}, ANSWER, "hm"),
        ({"content": "<think>hm"}, "", "hm"),
        ({"content": None}, "", None),
        ({"content": 4}, "", None),
        ({}, "", None),
        ({"content": ANSWER, "refusal": None, "tool_calls": [], "function_call": None}, ANSWER, None),
        ({"content": "\0\ud800"}, "\ufffd\ufffd", None),
    ],
)
def test_the_answer_is_read_whatever_stands_beside_it(message: Any, text: str, reasoning: str | None) -> None:
    assert reply(message) == Reply(text, reasoning, "stop", None, None)


@pytest.mark.parametrize(
    ("message", "given", "finish_reason", "text"),
    [
        ({"content": None, "refusal": "No."}, "stop", "refusal", "No."),
        ({"content": None, "tool_calls": [{"id": "c"}]}, "stop", "tool_calls", ""),
        ({"content": "", "function_call": {"name": "add"}}, None, "tool_calls", ""),
        ({"content": ANSWER, "tool_calls": [{"id": "c"}]}, "stop", "stop", ANSWER),
        ({"content": ANSWER}, 1, "unknown", ANSWER),
        ({"content": ANSWER}, None, "unknown", ANSWER),
        ({"content": ANSWER}, "length", "length", ANSWER),
    ],
)
def test_the_end_is_what_the_server_means(message: Any, given: Any, finish_reason: str, text: str) -> None:
    found = reply(message, given)
    assert found is not None
    assert (found.finish_reason, found.text) == (finish_reason, text)


ADD = {"type": "function", "function": {"name": "add"}}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def called(arguments: Any, name: str = "add") -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}]


@pytest.mark.parametrize(
    ("message", "given", "finish_reason", "calls"),
    [
        ({"content": None, "tool_calls": [CALL]}, "tool_calls", "tool_calls", [CALL]),
        ({"content": ANSWER, "tool_calls": [CALL]}, "stop", "stop", [CALL]),
        ({"tool_calls": called({"a": 1})}, "tool_calls", "tool_calls", [CALL]),
        ({"tool_calls": called('{"a": 1')}, "length", "length", called('{"a": 1')),  # cut, and kept as far as it came
        ({"tool_calls": called('{"a": 1')}, "tool_calls", "tool_calls", None),
        ({"tool_calls": called("{}", name="divide")}, "stop", "tool_calls", None),  # of no tool that was offered
        ({"tool_calls": called('{"a": "\\u0000"}')}, "stop", "stop", called('{"a": "\\u0000"}')),
        ({"tool_calls": "add"}, "stop", "tool_calls", None),
    ],
)
def test_a_call_of_an_offered_tool_is_an_answer(message: Any, given: Any, finish_reason: str, calls: Any) -> None:
    found = read({"choices": [{"message": message, "finish_reason": given}]}, [ADD])
    assert found is not None
    assert (found.finish_reason, found.tool_calls) == (finish_reason, calls)


def test_a_call_that_nobody_asked_for_is_none() -> None:
    assert reply({"content": None, "tool_calls": [CALL]}, "tool_calls") == Reply("", None, "tool_calls", None, None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, (5, 0)),
        ({"prompt_tokens": 5.0, "completion_tokens": 2**31 - 1}, (5, 2**31 - 1)),
        ({"prompt_tokens": None, "completion_tokens": -1}, (None, None)),
        ({"prompt_tokens": 2**31, "completion_tokens": "7"}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": float("inf")}, (None, None)),
        ({}, (None, None)),
        (None, (None, None)),
        ([], (None, None)),
    ],
)
def test_a_count_that_is_none_is_unknown(usage: Any, counts: tuple[int | None, int | None]) -> None:
    found = reply({"content": ANSWER}, usage=usage)
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens) == counts


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"message": "x"}]}]
)
def test_what_holds_no_message_is_no_completion(body: Any) -> None:
    assert read(body) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "thinking", "content", "summary", "reasoning"]), inner
    ),
    max_leaves=10,
)  # fmt: skip
FIELDS = ["reasoning", "reasoning_content", "reasoning_details", "tool_calls", "audio", "annotations"]


@given(st.dictionaries(st.sampled_from(FIELDS), anything), anything)
def test_no_field_that_nobody_needs_spoils_an_answer(beside: dict[str, Any], usage: Any) -> None:
    found = reply({"content": ANSWER, **beside}, usage=usage)
    assert found is not None
    assert (found.text, found.finish_reason) == (ANSWER, "stop")
