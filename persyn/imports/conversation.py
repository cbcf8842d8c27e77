"""A conversation in the spellings of several tools, as canonical messages and the answer at its end."""

import json
from typing import Any, NamedTuple

from persyn.imports.fields import Refused

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bing", "bard", "claude"), "assistant"),
}
TOOL_ROLES = ("tool", "function", "function_call", "observation", "tool_call", "tool_response", "ipython")
TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id", "tools", "functions")
TEXT_PARTS = ("text", "input_text", "output_text")
THOUGHT_PARTS = {"thinking": "thinking", "reasoning": "text"}  # a part's type → the key of its text
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
MEDIA = {
    **dict.fromkeys(("image", "images", "image_url", "input_image"), "an image"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "a sound"),
    **dict.fromkeys(("video", "videos", "video_url"), "a film"),
    **dict.fromkeys(("file", "files", "document", "input_file", "attachments"), "a file"),
}
NO_TOOLS = "which PerSyn can give to no teacher and to no student"


class SourceAnswer(NamedTuple):
    """The answer that a source brings: the assistant's turn at the end of its conversation, or a column."""

    text: str
    reasoning: str | None = None


class Conversation(NamedTuple):
    """Messages in canonical form, which end with the user."""

    messages: list[dict[str, str]]
    answer: SourceAnswer | None = None  # the assistant's last turn, cut off
    extras: dict[str, Any] | None = None  # what else the turns hold, such as names: number of the message → keys


class _Turn(NamedTuple):
    role: str
    content: str
    extras: dict[str, Any]


def conversation(turns: Any, column: str) -> Conversation:
    """Raises Refused."""
    turns = decoded(turns)
    if not isinstance(turns, list) or not turns:
        raise Refused(f"{column} is not a list of messages")
    read = [_turn(number, turn) for number, turn in enumerate(turns, start=1)]
    last = read.pop() if read[-1].role == "assistant" else None
    for number, turn in enumerate(read, start=1):
        if not turn.content.strip() and turn.role != "system":
            raise Refused(f"message {number} has empty content")
    read = [turn for turn in read if turn.content.strip()]  # an empty system text is none
    _check_order([turn.role for turn in read], cut=last is not None)
    extras = {str(number): turn.extras for number, turn in enumerate(read, start=1) if turn.extras}
    return Conversation([{"role": turn.role, "content": turn.content} for turn in read], _answer(last), extras or None)


def answer_in(turns: list[Any], column: str) -> SourceAnswer:
    """The assistant's turn at the end of a list, whatever stands before it. Raises Refused."""
    last = _turn(len(turns), turns[-1]) if turns else None
    answer = _answer(last) if last and last.role == "assistant" else None
    if answer is None:
        raise Refused(f"{column} does not end with a turn of the assistant")
    return answer


def decoded(turns: Any) -> Any:
    """The list that a cell of JSON text holds, because a CSV cell can hold no list; else the value itself."""
    if not isinstance(turns, str):
        return turns
    try:
        return json.loads(turns)
    except (ValueError, RecursionError):
        return turns


def _turn(number: int, turn: Any) -> _Turn:
    if not isinstance(turn, dict):
        raise Refused(f"message {number} is not an object with role and content")
    rest = {key: value for key, value in turn.items() if value is not None}
    role = _role(number, rest.pop("role", rest.pop("from", None)))
    for key, value in rest.items():
        if value and (key in TOOL_KEYS or key in MEDIA):
            raise Refused(f"message {number} has {_named(key)}, {NO_TOOLS}")
    content = rest.pop("content", rest.pop("value", None))
    if isinstance(content, list):
        content = _joined(number, content, rest)
    if not isinstance(content, str):
        raise Refused(f"message {number} has a content that is not a string")
    return _Turn(role, content, rest)


def _role(number: int, role: Any) -> str:
    name = role.strip().lower() if isinstance(role, str) else None
    if name in TOOL_ROLES:
        raise Refused(f"message {number} is a tool's ({name}), {NO_TOOLS}")
    if name not in ROLES:
        raise Refused(f"message {number} has the role {str(role)[:40]!r}; expected system, user or assistant")
    return ROLES[name]


def _named(key: str) -> str:
    return MEDIA.get(key) or f"tools ({key})"


def _joined(number: int, parts: list[Any], rest: dict[str, Any]) -> str | None:
    """The parts' texts, one a line; thoughts go into `rest`. None where a part is no object."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in THOUGHT_PARTS and isinstance(part.get(THOUGHT_PARTS[kind]), str):
            rest.setdefault("reasoning_content", part[THOUGHT_PARTS[kind]])
        elif kind in TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind is None:
            return None
        else:
            raise Refused(f"message {number} has {MEDIA.get(str(kind)) or f'a part {str(kind)[:40]!r}'}, {NO_TOOLS}")
    return "\n".join(texts)


def _check_order(roles: list[str], *, cut: bool) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        got = ", ".join([*roles, *(["assistant"] if cut else [])])
        raise Refused(f"roles must go user, assistant, …, user, after at most one system; got {got[:80]}")


def _answer(turn: _Turn | None) -> SourceAnswer | None:
    if turn is None:
        return None
    thoughts = (turn.extras[key] for key in THOUGHT_KEYS if isinstance(turn.extras.get(key), str))
    return SourceAnswer(turn.content, next(thoughts, None))
