"""A prompt's tools and the calls in its turns, in the form that each layout's reader wants.

Readers of chat templates (TRL, Axolotl) take arguments as objects; OpenAI's and verl's take them as JSON text.
LLaMA-Factory has turns of their own for calls and results, whose text is JSON.
"""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from persyn import tools
from persyn.config import Layout
from persyn.exports.rows import Answer

JSON = pa.json_()  # a column or an element of any shape, which `datasets` gives back as an object
SEVERAL_RESULTS = "\n</tool_response>\n<tool_response>\n"  # as LLaMA-Factory joins the results of one turn itself
_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
VERL_MESSAGES = pa.list_(
    pa.struct(
        [
            ("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(_CALL)),
            ("tool_call_id", pa.string()), ("name", pa.string()),
        ]
    )
)  # fmt: skip


def messages(talk: Sequence[dict[str, Any]], layout: Layout) -> list[dict[str, Any]]:
    """Messages with their calls and results. A message has the keys that it needs, and no other."""
    match layout:
        case "llamafactory":
            return _turns(talk)
        case "openai":
            return [_without_empty_text(message) for message in talk]
        case "verl":
            return [dict.fromkeys(VERL_MESSAGES.value_type.names) | message for message in map(_in_order, talk)]
        case _:
            return [_with_objects(message) for message in talk]


def offered(answer: Answer, layout: Layout) -> Any:
    """The column `tools`. As JSON text it is `null` where there are none: some templates print an empty list."""
    given = answer.tools or []
    match layout:
        case "llamafactory":
            return _text([tool["function"] for tool in given]) if given else ""
        case "axolotl":
            return [_with_parameters_as_text(tool) for tool in given]
        case "openai":
            return given
        case "verl":
            return _text(given) if given else ""
        case _:
            return _text(given or None)


def text(answer: Answer) -> str:
    """The answer's calls as JSON text, empty where it makes none."""
    return _text(answer.tool_calls) if answer.tool_calls else ""


def column(layout: Layout) -> pa.DataType:
    """The type of the column `tools`."""
    return {"axolotl": pa.list_(JSON), "openai": JSON}.get(layout, pa.string())


def text_beside_call(answer: Answer) -> bool:
    """Whether a turn has both a text and a call, for which LLaMA-Factory has no form."""
    last = {"content": answer.text, "tool_calls": answer.tool_calls}
    return any(turn.get("tool_calls") and turn["content"].strip() for turn in (*answer.messages, last))


def _in_order(message: dict[str, Any]) -> dict[str, Any]:
    """The tables keep no order of keys."""
    return {"role": message["role"], "content": message["content"]} | message


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    message = _in_order(message)
    calls = message.get("tool_calls")
    return message | {"tool_calls": tools.with_objects(calls)} if calls else message


def _without_empty_text(message: dict[str, Any]) -> dict[str, Any]:
    message = _in_order(message)
    if message.get("tool_calls") and not message["content"]:
        del message["content"]
    return message


def _turns(talk: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for is_result, group in groupby(talk, key=lambda message: message["role"] == "tool"):
        if is_result:
            turns.append({"role": "observation", "content": SEVERAL_RESULTS.join(one["content"] for one in group)})
        else:
            turns += [_turn(message) for message in group]
    return turns


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return {"role": message["role"], "content": message["content"]}
    functions = [call["function"] for call in tools.with_objects(message["tool_calls"])]
    return {
        "role": "function_call",
        "content": _text([{"name": one["name"], "arguments": one["arguments"]} for one in functions]),
    }


def _with_parameters_as_text(tool: tools.Tool) -> tools.Tool:
    """One type for the schemas of all tools, which Axolotl reads again."""
    function = tool["function"]
    parameters = {"parameters": _text(function["parameters"])} if "parameters" in function else {}
    return {"type": "function", "function": function | parameters}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
