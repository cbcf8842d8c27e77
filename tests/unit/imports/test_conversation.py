"""Turns in the spellings of several tools become canonical messages, or are refused with the reason."""

import json
from typing import Any

import pytest

from persyn.imports.conversation import SourceAnswer, conversation
from persyn.imports.fields import Refused

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be brief"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "18C", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], [USER]),
        ([{"from": "human", "value": "hi"}, {"from": "bot", "value": "hello"}], [USER]),
        ([{"from": "system", "value": "be brief"}, {"from": "human", "value": "hi", "weight": 0}], [SYSTEM, USER]),
        ([{"role": "developer", "content": "be brief"}, USER], [SYSTEM, USER]),
        ([{"role": "system", "content": ""}, USER], [USER]),
        ([{"role": "User", "content": "hi"}], [USER]),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], [USER]),
        ([{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]}],
         [{"role": "user", "content": "a\nb"}]),
        ([USER, ASSISTANT, USER, ASSISTANT], [USER, ASSISTANT, USER]),
        (json.dumps([SYSTEM, USER]), [SYSTEM, USER]),
    ],
)  # fmt: skip
def test_the_spellings_of_a_conversation(turns: Any, expected: list[dict[str, str]]) -> None:
    assert conversation(turns, "messages").messages == expected


def numbered(message: dict[str, Any], number: int) -> dict[str, Any]:
    """The message with the id that a call or a result without one is given."""
    if "tool_call_id" in message:
        return message | {"tool_call_id": f"call_{number}"}
    return message | {"tool_calls": [message["tool_calls"][0] | {"id": f"call_{number}"}]}


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([USER, CALLING | {"content": None}, RESULT], [USER, CALLING, RESULT]),
        ([USER, {"role": "assistant", "function_call": CALL["function"]}, {"role": "function", "content": "18C"}],
         [USER, numbered(CALLING, 1), numbered(RESULT, 1)]),
        ([USER, {"role": "assistant", "tool_calls": json.dumps([CALL])}, {"role": "tool", "content": "18C"}],
         [USER, CALLING, RESULT]),
        ([USER, {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome", "unit": null}}'},
          {"from": "observation", "value": "18C"}], [USER, numbered(CALLING, 1), numbered(RESULT, 1)]),
        ([USER, CALLING, RESULT | {"name": "weather", "content": {"degrees": 18}}],
         [USER, CALLING, RESULT | {"name": "weather", "content": '{"degrees": 18}'}]),
        ([USER, CALLING, RESULT, ASSISTANT, USER, CALLING | {"content": "Again."}, RESULT, CALLING, RESULT, ASSISTANT],
         [USER, CALLING, RESULT, ASSISTANT, USER, CALLING | {"content": "Again."}, RESULT, CALLING, RESULT]),
    ],
)  # fmt: skip
def test_calls_of_tools_and_their_results_are_kept_in_one_form(turns: Any, expected: list[dict[str, Any]]) -> None:
    assert conversation(turns, "messages").messages == expected


def test_a_call_in_the_last_turn_is_an_answer_too() -> None:
    assert conversation([USER, CALLING], "messages").answer == SourceAnswer("", None, [CALL])


def test_the_last_turn_of_the_assistant_is_an_answer_and_no_part_of_the_prompt() -> None:
    last = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    assert conversation([USER, last], "messages").answer == SourceAnswer("4", "2+2")
    assert conversation([USER], "messages").answer is None


def test_names_and_earlier_thoughts_are_kept_beside() -> None:
    earlier = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "3"}]}
    turns = [{"role": "system", "content": " "}, USER | {"name": "Ann"}, earlier, USER]
    assert conversation(turns, "messages").extras == {"1": {"name": "Ann"}, "2": {"reasoning_content": "hm"}}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "messages is not a list of messages"),
        ("hi", "messages is not a list of messages"),
        ({"role": "user"}, "messages is not a list of messages"),
        (["hi"], "message 1 is not an object with role and content"),
        ([{"content": "x"}], "message 1 has the role 'None'; expected system"),
        ([{"role": "narrator", "content": "x"}], "message 1 has the role 'narrator'"),
        ([{"role": "user"}], "message 1 has a content that is not a string"),
        ([{"role": "user", "content": ["x"]}], "message 1 has a content that is not a string"),
        ([{"role": "user", "content": ""}], "message 1 has empty content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "message 1 has an image"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "message 1 has a sound"),
        ([{"role": "user", "content": [{"type": "tool_result"}]}], "message 1 has a part 'tool_result'"),
        ([USER | {"images": ["x.png"]}], "message 1 has an image"),
        (
            [USER, ASSISTANT | {"tool_calls": [{"id": "1"}]}, RESULT],
            "message 2 holds a call that names no tool (call 1)",
        ),
        ([USER, {"from": "function_call", "value": "add it"}], "message 2 is no list of calls"),
        ([USER | {"tool_calls": [CALL]}], "message 1 calls a tool and is no assistant's"),
        ([USER | {"tools": [{"name": "f"}]}], "message 1 has tools, which belong to the whole record"),
        (
            [USER, ASSISTANT, RESULT],
            "roles must go user, assistant, …, user, after at most one system; a tool's result",
        ),
        ([USER, CALLING, USER], "roles must go user"),
        ([USER, CALLING, RESULT, USER], "roles must go user"),
        ([SYSTEM], "roles must go user"),
        ([ASSISTANT], "roles must go user"),
        ([ASSISTANT, USER], "roles must go user"),
        ([USER, USER], "roles must go user"),
        ([USER, ASSISTANT, ASSISTANT], "roles must go user"),
        ([SYSTEM, SYSTEM, USER], "roles must go user"),
        ([USER, SYSTEM, USER], "roles must go user"),
    ],
)
def test_a_conversation_that_is_no_prompt_is_refused_with_the_reason(turns: Any, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        conversation(turns, "messages")
    assert str(refused.value).startswith(reason)
