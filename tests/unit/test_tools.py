"""Tools and calls in the spellings of several sources become one form, or are told to be none."""

import json
from typing import Any

import pytest

from persyn import tools

TOOL = {"type": "function", "function": {"name": "add", "description": "+", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_the_nulls_that_a_table_puts_into_a_schema_are_none_of_it() -> None:
    filled = {"type": "object", "properties": {"a": {"type": "number", "enum": None}, "b": None}}
    [tool] = tools.definitions([{"name": "add", "parameters": filled}])
    assert tool["function"]["parameters"] == {"type": "object", "properties": {"a": {"type": "number"}}}


@pytest.mark.parametrize(
    "given", [[TOOL], [TOOL["function"]], TOOL, json.dumps([TOOL]), [json.dumps(TOOL["function"])]]
)
def test_tools_have_one_form(given: Any) -> None:
    assert tools.definitions(given) == [TOOL]


@pytest.mark.parametrize(
    ("given", "call"),
    [
        ([CALL], CALL),
        ([{"name": "add", "arguments": {"a": 1, "b": None}}], CALL | {"id": "call_3"}),
        ({"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}, CALL),
        ([{"id": "c1", "function": {"name": "add"}}], CALL | {"function": {"name": "add", "arguments": "{}"}}),
        (json.dumps([CALL]), CALL),
    ],
)
def test_calls_have_one_form(given: Any, call: tools.Call) -> None:
    assert tools.calls(given, first=3) == [call]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("add(1)", "is no list of calls"),
        (["add"], "is no list of calls"),
        ([CALL, {"id": "c2"}], "holds a call that names no tool (call 2)"),
        ([{"function": "add"}], "holds a call that names no tool (call 1)"),
    ],
)
def test_what_is_no_call_is_told(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.partition(" (")[0]):
        tools.calls(given)


@pytest.mark.parametrize(("text", "expected"), [('{"a": 1}', {"a": 1}), ('{"a": ', None), ("[1]", None), ("1", None)])
def test_arguments_are_an_object_or_none(text: str, expected: Any) -> None:
    call = CALL | {"function": {"name": "add", "arguments": text}}
    assert tools.arguments(call) == expected
    [shown] = tools.with_objects([call])
    assert shown["function"]["arguments"] == (text if expected is None else expected)


def test_a_call_in_words_is_a_line_of_json_after_the_text() -> None:
    assert tools.in_words("", [CALL]) == '{"name": "add", "arguments": {"a": 1}}'
    assert tools.in_words("Wait.", [CALL, CALL]).splitlines()[0] == "Wait."
    assert tools.in_words(" \n", None) == " \n"
