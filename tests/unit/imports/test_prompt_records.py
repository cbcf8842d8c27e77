"""The rules that decide whether a record is a prompt, and which prompts are the same."""

import json
import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.errors import ConfigError
from persyn.imports.prompt_records import Columns, Prompt, canonical, json_text

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be brief"}


def accepted(values: Any, columns: Columns = Columns()) -> Prompt:
    prompt = canonical(values, columns)
    assert isinstance(prompt, Prompt), prompt
    return prompt


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["prompt"], "not an object"),
        (None, "not an object"),
        ({"question": "x"}, "has neither prompt nor messages"),
        ({"prompt": None}, "has neither prompt nor messages"),
        ({"prompt": "x", "messages": [USER]}, "has both prompt and messages"),
        ({"prompt": 5}, "prompt is not a string"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "a\x00b"}, "holds a NUL character"),
        ({"prompt": "a", "deep": [{"b\x00": 1}]}, "holds a NUL character"),
        ({"prompt": "\\\x00"}, "holds a NUL character"),
        ({"messages": '[{"role": "user", "content": "\\u0000"}]'}, "holds a NUL character"),  # inside a CSV cell
        ({"prompt": "\ud800"}, "holds a lone surrogate, which is no character"),
        ({"prompt": "a", "score": math.inf}, "holds a number or a nesting that JSON cannot store"),
        ({"prompt": "a", "id": [1]}, "id is not a string or a number"),
        ({"prompt": "a", "id": True}, "id is not a string or a number"),
        ({"prompt": "a", "id": "x" * 513}, "id is longer than 512 characters"),
        ({"prompt": "a", "reference_answer": ["72"]}, "reference_answer is not a string or a number"),
        ({"messages": []}, "messages is not a list of messages"),
        ({"messages": "hi"}, "messages is not a list of messages"),
        ({"messages": {"role": "user"}}, "messages is not a list of messages"),
        ({"messages": ["hi"]}, "message 1 is not an object with role and content"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "message 2 has the role 'tool'; expected"),
        ({"messages": [{"content": "x"}]}, "message 1 has the role 'None'; expected"),
        ({"messages": [{"role": "user"}]}, "message 1 has a content that is not a string"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "message 1 has a content that is not a string"),
        ({"messages": [{"role": "user", "content": ""}]}, "message 1 has empty content"),
        ({"messages": [USER | {"name": "Ann"}]}, "message 1 has the unknown key 'name'"),
        ({"messages": [SYSTEM]}, "roles must go user"),
        ({"messages": [USER, ASSISTANT]}, "roles must go user"),
        ({"messages": [ASSISTANT, USER]}, "roles must go user"),
        ({"messages": [USER, USER]}, "roles must go user"),
        ({"messages": [SYSTEM, SYSTEM, USER]}, "roles must go user"),
        ({"messages": [USER, SYSTEM, USER]}, "roles must go user"),
    ],
)
def test_a_record_that_is_no_prompt_is_refused_with_the_reason(values: Any, reason: str) -> None:
    refusal = canonical(values)
    assert isinstance(refusal, str)
    assert refusal.startswith(reason)


def test_a_record_above_the_size_limit_is_refused() -> None:
    assert canonical({"prompt": "ä" * 50}, max_bytes=100) == "longer than 100 bytes"
    assert isinstance(canonical({"prompt": "ä" * 40}, max_bytes=100), Prompt)


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


def test_a_cell_of_json_text_is_a_list_of_messages() -> None:
    assert accepted({"messages": json.dumps([SYSTEM, USER])}).messages == [SYSTEM, USER]


def test_mapped_columns_are_read_and_are_no_part_of_meta() -> None:
    columns = Columns.parse(["prompt=question", "reference_answer=gold"])
    prompt = accepted({"question": "1+1?", "gold": "2", "prompt": "unused"}, columns)
    assert prompt.messages == [{"role": "user", "content": "1+1?"}]
    assert (prompt.reference_answer, prompt.meta) == ("2", {"prompt": "unused"})


@pytest.mark.parametrize(
    "mappings", [["question"], ["prompt="], ["text=question"], ["prompt=a", "prompt=b"], ["prompt=id"]]
)
def test_a_mapping_that_makes_no_sense_is_refused(mappings: list[str]) -> None:
    with pytest.raises(ConfigError, match="--map"):
        Columns.parse(mappings)


def test_values_that_json_lacks_are_stored_as_text() -> None:
    assert json_text({"day": date(2026, 1, 2)}) == '{"day":"2026-01-02"}'


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
    result = canonical(values)
    if isinstance(result, str):
        assert result
        result.encode()
    else:
        stored = json_text(result.messages) + json_text(result.meta) + str(result.external_id)
        assert "\x00" not in stored.encode().decode()
        assert result.messages[-1]["role"] == "user"
