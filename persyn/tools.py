"""The tools that a prompt offers and the calls that an answer makes, in OpenAI's form: `arguments` is JSON text."""

import json
from collections.abc import Sequence
from typing import Any

Tool = dict[str, Any]  # {"type": "function", "function": {"name", "description", "parameters"}}
Call = dict[str, Any]  # {"id", "type": "function", "function": {"name", "arguments"}}

FORM = '{"type": "function", "function": {"name": …, "description": …, "parameters": {"type": "object", …}}}'
_BARE = {"type", "name", "description", "parameters", "strict"}


def definitions(given: Any) -> list[Tool]:
    """Tools in their one form, from that form or from bare functions, or from JSON text of either.

    Raises ValueError with a predicate, such as "holds a tool without a name".
    """
    given = decoded(given) or []
    listed = [given] if isinstance(given, dict) else given
    if not isinstance(listed, list):
        raise ValueError("is no list of tools")
    return [_definition(number, tool) for number, tool in enumerate(listed, start=1)]


def calls(given: Any, *, first: int = 1) -> list[Call]:
    """Calls in their one form, from that form, without ids, bare, with arguments as an object, or as JSON text.

    A call without an id is given one by its place, of which `first` is the first. Raises ValueError with a predicate.
    """
    given = decoded(given)
    listed = [given] if isinstance(given, dict) else given
    if not isinstance(listed, list) or not all(isinstance(call, dict) for call in listed):
        raise ValueError("is no list of calls")
    return [_call(number, call) for number, call in enumerate(listed, start=first)]


def arguments(call: Call) -> dict[str, Any] | None:
    """The arguments of a call; None where their text is no JSON object, as that of a call that was cut."""
    given = decoded(call["function"]["arguments"])
    return given if isinstance(given, dict) else None


def tool_name(tool: Tool | Call) -> str:
    return str(tool["function"]["name"])


def with_objects(given: Sequence[Call]) -> list[Call]:
    """The calls with their arguments as objects, as chat templates want them; what is no JSON stays a text."""
    return [
        {**call, "function": {**call["function"], "arguments": parsed if parsed is not None else text}}
        for call in given
        for text, parsed in [(call["function"]["arguments"], arguments(call))]
    ]


def in_words(text: str, given: Sequence[Call] | None) -> str:
    """An answer as one text for a reader who knows no calls: its text, then each call as a line of JSON."""
    lines = [
        f'{{"name": {json.dumps(tool_name(call))}, "arguments": {call["function"]["arguments"]}}}'
        for call in given or ()
    ]
    return "\n".join([*([text] if text.strip() or not lines else []), *lines])


def decoded(given: Any) -> Any:
    """The value that a JSON text holds; else the value itself."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def _definition(number: int, tool: Any) -> Tool:
    tool = decoded(tool)
    if not isinstance(tool, dict):
        raise ValueError(f"holds a tool that is no object (tool {number})")
    function = tool.get("function", tool)
    if not isinstance(function, dict) or (tool is function and tool.keys() - _BARE):
        raise ValueError(f"holds a tool in an unknown form (tool {number})")
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError(f"holds a tool without a name (tool {number})")
    function = {key: value for key, value in function.items() if key != "type" and value is not None}
    if "parameters" in function:
        function["parameters"] = _parameters(number, decoded(function["parameters"]))
    return {"type": "function", "function": function}


def _parameters(number: int, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or (given and given.get("type") != "object" and "properties" not in given):
        raise ValueError(f"holds a tool whose parameters are no JSON Schema of an object (tool {number})")
    return _without_nulls(given)  # type: ignore[no-any-return]


def _without_nulls(value: Any) -> Any:
    """A table gives each row the keys of all its rows, and null where a row lacks one."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _call(number: int, call: dict[str, Any]) -> Call:
    function = call.get("function", call)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError(f"holds a call that names no tool (call {number})")
    given = function.get("arguments")
    text = given if isinstance(given, str) else json.dumps(_without_nulls(given or {}), ensure_ascii=False)
    id = call.get("id")
    return {
        "id": id if isinstance(id, str) and id else f"call_{number}",
        "type": "function",
        "function": {"name": function["name"], "arguments": text or "{}"},
    }
