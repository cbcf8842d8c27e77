"""The rules that decide whether a record is a prompt, and which prompts are the same."""

import hashlib
import json
import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.config import fingerprint
from persyn.imports.prompt_records import Prompt, canonical, json_text, messages_text
from persyn.imports.reading import Reading

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be brief"}


def accepted(values: Any) -> Prompt:
    prompt = canonical(values, Reading())
    assert isinstance(prompt, Prompt), prompt
    return prompt


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["prompt"], "not an object"),
        (None, "not an object"),
        ({"question": "x"}, "has neither prompt nor messages"),
        ({"Question": "x"}, "has neither prompt nor messages, but Question; try --map prompt=Question"),
        ({"inputs": "x", "y": 1}, "has neither prompt nor messages, but inputs, y; try --map prompt=inputs"),
        ({"instruction": "Answer.", "inputs": "Why?"}, "has inputs, which would be lost; --map 'prompt={instruction}"),
        ({"prompt": "Answer.", "Input": "Why?"}, "has Input, which would be lost"),
        ({"prompt": "Is it?", "passage": "It is."}, "has passage, which would be lost"),
        ({"instruction": "And now?", "history": [["Hi", "Hello"]]}, "has history, which would be lost, and is no text"),
        ({"prompt": None}, "has neither prompt nor messages"),
        ({"prompt": "x", "messages": [USER]}, "has both prompt and messages, and they differ; --ignore messages"),
        ({"system": "x", "messages": [SYSTEM, USER]}, "has two system texts that differ"),
        ({"system": 5, "prompt": "x"}, "system is not a string"),
        ({"prompt": 5}, "prompt is not a string"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "a\x00b"}, "holds a NUL character"),
        ({"prompt": "a", "deep": [{"b\x00": 1}]}, "holds a NUL character"),
        ({"prompt": "\\\x00"}, "holds a NUL character"),
        ({"messages": '[{"role": "user", "content": "\\u0000"}]'}, "holds a NUL character"),  # inside a CSV cell
        ({"prompt": "\ud800"}, "holds a lone surrogate, which is no character"),
        ({"prompt": "a", "id": [1]}, "id is not a string or a number"),
        ({"prompt": "a", "id": True}, "id is not a string or a number"),
        ({"prompt": "a", "id": "x" * 513}, "id is longer than 512 characters"),
        ({"prompt": "a", "reference_answer": ["72"]}, "reference_answer is not a string or a number"),
        ({"messages": []}, "messages is not a list of messages"),
        ({"messages": "hi"}, "messages is not a list of messages"),
    ],
)
def test_a_record_that_is_no_prompt_is_refused_with_the_reason(values: Any, reason: str) -> None:
    refusal = canonical(values, Reading())
    assert isinstance(refusal, str)
    assert refusal.startswith(reason)


def test_a_record_above_the_size_limit_is_refused() -> None:
    assert canonical({"prompt": "ä" * 50}, Reading(), max_bytes=100) == "longer than 100 bytes"
    assert isinstance(canonical({"prompt": "ä" * 40}, Reading(), max_bytes=100), Prompt)


@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], [USER, ASSISTANT, USER], [SYSTEM, USER, ASSISTANT, USER]])
def test_a_conversation_that_ends_with_the_user_is_a_prompt(messages: list[dict[str, str]]) -> None:
    assert accepted({"messages": messages}).messages == messages


def test_a_prompt_and_its_one_message_are_the_same_prompt() -> None:
    assert accepted({"prompt": "hi"}).sha256 == accepted({"messages": [USER]}).sha256


def test_key_order_nulls_and_other_fields_do_not_change_a_prompts_identity() -> None:
    reordered = {"content": "hi", "role": "user", "tool_calls": None}
    assert (
        accepted({"messages": [reordered], "id": 7, "reference_answer": 2}).sha256 == accepted({"prompt": "hi"}).sha256
    )


def test_content_is_kept_to_the_character() -> None:
    assert accepted({"prompt": " hi\n"}).messages == [{"role": "user", "content": " hi\n"}]
    assert accepted({"prompt": " hi\n"}).sha256 != accepted({"prompt": "hi"}).sha256


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert accepted({"prompt": "the escape \\u0000 is written \\\\u0000"})


def test_numbers_become_text_and_the_rest_becomes_meta() -> None:
    prompt = accepted({"id": 7, "prompt": "hi", "reference_answer": 72, "level": 3, "tags": ["a"]})
    assert (prompt.external_id, prompt.reference_answer) == ("7", "72")
    assert prompt.meta == {"level": 3, "tags": ["a"]}


def test_a_field_that_is_null_is_no_meta() -> None:
    assert accepted({"id": None, "system_prompt": None, "prompt": "hi", "level": None}).meta == {"level": None}


def test_a_cell_of_json_text_is_a_list_of_messages() -> None:
    assert accepted({"messages": json.dumps([SYSTEM, USER])}).messages == [SYSTEM, USER]


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "hi", "messages": [USER, ASSISTANT]},
        {"prompt": "", "messages": [USER]},
        {"prompt": "hi", "messages": []},
        {"prompt": [USER], "messages": [USER]},
    ],
)
def test_a_prompt_beside_messages_that_hold_it_is_no_contradiction(values: Any) -> None:
    assert accepted(values).messages == [USER]


def test_a_system_column_is_the_system_message() -> None:
    assert accepted({"system": "be brief", "prompt": "hi"}).messages == [SYSTEM, USER]
    assert accepted({"system": "be brief", "messages": [SYSTEM, USER]}).messages == [SYSTEM, USER]
    assert accepted({"system": " ", "prompt": "hi"}).messages == [USER]


def test_numbers_that_json_lacks_are_holes_in_meta() -> None:
    assert accepted({"prompt": "a", "score": math.inf, "deep": [{"x": math.nan}]}).meta == {
        "score": None, "deep": [{"x": None}],
    }  # fmt: skip
    assert accepted({"prompt": "a", "reference_answer": math.nan}).reference_answer is None


@given(st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()})))
def test_the_stored_text_is_the_one_that_the_identity_is_taken_of(messages: list[dict[str, str]]) -> None:
    if not any("\ud800" <= char <= "\udfff" for message in messages for char in message["content"]):
        assert hashlib.sha256(messages_text(messages).encode()).hexdigest() == fingerprint(messages)


def test_values_that_json_lacks_are_stored_as_text() -> None:
    assert json_text({"day": date(2026, 1, 2), "raw": b"abc"}) == '{"day":"2026-01-02","raw":"<3 bytes>"}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near_messages = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "assistant", "system"]) | json_values, "content": json_values}
)
near_prompts = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "prompt": json_values,
        "messages": st.lists(near_messages, max_size=3) | json_values,
        "reference_answer": json_values,
        "more": json_values,
    },
)


@given(near_prompts | json_values)
def test_any_json_is_either_a_storable_prompt_or_refused_with_a_reason(values: Any) -> None:
    result = canonical(values, Reading())
    if isinstance(result, str):
        assert result
        result.encode()
    else:
        stored = json_text(result.messages) + json_text(result.meta) + str(result.external_id)
        assert "\x00" not in stored.encode().decode()
        assert result.messages[-1]["role"] == "user"


FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}


def read_prompt(record: Any, **flags: Any) -> Prompt:
    prompt = canonical(record, Reading.parse(**flags))
    assert isinstance(prompt, Prompt), prompt
    return prompt


@pytest.mark.parametrize(
    "given",
    [
        [TOOL],
        json.dumps([TOOL]),
        [json.dumps(TOOL)],
        [FUNCTION],
        TOOL,
        [TOOL | {"function": {**FUNCTION, "strict": None}}],
    ],
)
def test_tools_are_kept_in_one_form_and_make_another_prompt(given: Any) -> None:
    plain, prompt = read_prompt({"prompt": "Hi"}), read_prompt({"prompt": "Hi", "tools": given})
    assert json.loads(prompt.tools_json or "") == [TOOL]
    assert prompt.messages == plain.messages
    assert prompt.sha256 == fingerprint({"messages": plain.messages, "tools": [TOOL]})
    assert (plain.sha256, plain.tools_json) == (fingerprint(plain.messages), None)
    assert "tools" not in prompt.meta


@pytest.mark.parametrize("given", [None, [], "[]", "null", ""])
def test_a_prompt_without_tools_is_what_it_was(given: Any) -> None:
    assert read_prompt({"prompt": "Hi", "tools": given}) == read_prompt({"prompt": "Hi"})


def test_turns_of_tools_make_a_prompt_of_tools_though_none_is_offered() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "c", "content": "1"}]  # fmt: skip
    prompt = read_prompt({"messages": turns})
    assert prompt.tools_json == "[]"
    assert prompt.sha256 == fingerprint(prompt.messages)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("get_weather", "tools is no list of tools"),
        ([{"type": "function"}], "tools holds a tool without a name (tool 1)"),
        ([TOOL, {"name": "f", "input_schema": {}}], "tools holds a tool in an unknown form (tool 2)"),
        (
            [{"name": "f", "parameters": {"city": {"type": "string"}}}],
            "tools holds a tool whose parameters are no JSON",
        ),
    ],
)
def test_tools_that_cannot_be_understood_are_refused_with_what_to_type(given: Any, reason: str) -> None:
    refusal = canonical({"prompt": "Hi", "tools": given}, Reading())
    assert isinstance(refusal, str)
    assert refusal.startswith(reason)
    assert refusal.endswith("--ignore tools leaves it out")
    assert read_prompt({"prompt": "Hi", "tools": given}, ignored=["tools"]).tools_json is None


def test_functions_are_tools_under_their_old_name() -> None:
    record = {"messages": [{"role": "user", "content": "Hi"}], "functions": [FUNCTION]}
    assert json.loads(read_prompt(record).tools_json or "") == [TOOL]


@pytest.mark.parametrize("field", ["id", "reference_answer"])
def test_a_number_beyond_all_floats_is_no_id_and_no_reference_answer(field: str) -> None:
    record = {"prompt": "a", field: json.loads("1e999")}
    assert canonical(record, Reading()) == (
        f"{field} is a number too large for a computer, as 1e999 is; write it as a text, in quotes"
    )
    assert canonical({"instruction": "a", "input": json.loads("-1e999")}, Reading()) == (
        "input is a number too large for a computer, as 1e999 is; write it as a text, in quotes"
    )
