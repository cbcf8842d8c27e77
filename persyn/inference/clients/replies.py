"""Reads a chat completion as it is meant: what nobody needs cannot spoil an answer.

Servers that speak the same protocol fill it differently. A text may come in parts, thoughts under three names or in
the text itself, and token counts not at all. A call of a tool is an answer where it can be read and the tool was
offered.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from persyn import thoughts, tools
from persyn.secrets import mask_answer
from persyn.text import storable

UNKNOWN = "unknown"
FAILED = ("error", "abort", "cancelled")  # the server gave up half-way: what is there is no answer
CUT = ("length", "max_tokens", "model_length")
COUNT_LIMIT = 2**31
_THINKING = ("thinking", "reasoning", "reasoning_content", "redacted_thinking")


class Reply(NamedTuple):
    """An answer and its thoughts, and what it took; None where the server does not say."""

    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    tool_calls: list[tools.Call] | None = None


def read(body: dict[str, Any], offered: Sequence[tools.Tool] = ()) -> Reply | None:
    """The first answer of a chat completion; None where the body is none. `offered`: the tools that it may call."""
    choice = first_choice(body)
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    split = thoughts.split(_text(message.get("content")), _reasoning(message))
    calls = _calls(message.get("tool_calls"), choice.get("finish_reason"), offered)
    text, finish_reason = _as_meant(message, split.text, choice.get("finish_reason"), calls)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    return Reply(text, split.reasoning, finish_reason, *counts, calls)


def first_choice(body: dict[str, Any]) -> dict[str, Any]:
    """The first choice of a chat completion; an empty one where there is none."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _calls(given: Any, finish_reason: Any, offered: Sequence[tools.Tool]) -> list[tools.Call] | None:
    """The calls of an answer; None where it makes none, or one that nobody could carry out.

    That is a call of a tool that was not offered, or one whose arguments are no JSON object, unless the limit of tokens
    cut it: then it is kept as far as it came.
    """
    if not given or not offered:
        return None
    try:
        calls = tools.calls(given)
    except ValueError:
        return None
    names = {tools.tool_name(tool) for tool in offered}
    was_cut = isinstance(finish_reason, str) and finish_reason.lower() in CUT
    sound = all(tools.tool_name(call) in names and (was_cut or tools.arguments(call) is not None) for call in calls)
    return [_kept_call(call) for call in calls] if sound else None


def _kept_call(call: tools.Call) -> tools.Call:
    function = {"name": _kept(tools.tool_name(call)), "arguments": _kept(call["function"]["arguments"])}
    return {"id": _kept(call["id"]), "type": "function", "function": function}


def _as_meant(message: dict[str, Any], text: str, finish_reason: Any, calls: Any) -> tuple[str, str]:
    """The text and why it ends: a refusal and a call of a tool are told by fields of their own."""
    refusal = _text(message.get("refusal"))
    if refusal.strip():
        return (text if text.strip() else refusal), "refusal"
    if not calls and not text.strip() and (message.get("tool_calls") or message.get("function_call")):
        return text, "tool_calls"
    given = storable(finish_reason.strip()) if isinstance(finish_reason, str) else ""
    return text, given or UNKNOWN


def _text(content: Any) -> str:
    """The text of a content: as it is, or its parts that are text, joined."""
    if isinstance(content, str):
        return _kept(content)
    if isinstance(content, dict):
        return "" if content.get("type") in _THINKING else _text(content.get("text"))
    return "".join(map(_text, content)) if isinstance(content, list) else ""


def _reasoning(message: dict[str, Any]) -> str | None:
    """The thoughts that the server split off, under the first name that holds some."""
    for name in ("reasoning_content", "reasoning", "reasoning_details", "thinking"):
        found = _thoughts(message.get(name))
        if found.strip():
            return found
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(_thoughts(part) for part in parts if part.get("type") in _THINKING) or None


def _thoughts(value: Any) -> str:
    if isinstance(value, str):
        return _kept(value)
    if isinstance(value, list):
        return "".join(map(_thoughts, value))
    if not isinstance(value, dict):
        return ""
    return next(filter(None, (_thoughts(value.get(name)) for name in ("text", "thinking", "content", "summary"))), "")


def _kept(text: str) -> str:
    return storable(mask_answer(text))


def _count(value: Any) -> int | None:
    """A number of tokens; None for what is none. Some servers send -1, null or a float."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < COUNT_LIMIT
    return value if known else None
