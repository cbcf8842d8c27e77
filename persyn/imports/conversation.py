"""A conversation in the spellings of several tools, as canonical messages and the answer at its end."""

import json
import re
from typing import Any, NamedTuple

from persyn import tools
from persyn.imports import dialogues
from persyn.imports.fields import Refused

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "ai", "bot", "chatbot", "model"), "assistant"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "claude"), "assistant"),
}
CALL_ROLES = ("function_call", "tool_call")  # turns of the assistant whose text is the call, as JSON
RESULT_ROLES = ("tool", "function", "observation", "tool_response", "ipython")
TEXT_PARTS = ("text", "input_text", "output_text")
THOUGHT_PARTS = {"thinking": "thinking", "reasoning": "text"}  # a part's type → the key of its text
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
MEDIA = {
    **dict.fromkeys(("image", "images", "image_url", "input_image"), "an image"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "a sound"),
    **dict.fromkeys(("video", "videos", "video_url"), "a film"),
    **dict.fromkeys(("file", "files", "document", "input_file", "attachments"), "a file"),
}
NOT_TAKEN = "which PerSyn can give to no teacher and to no student"
# S system, U user, A assistant, C assistant with calls, T a call's result. A user's turn is answered after any number
# of calls with their results.
_ORDER = re.compile(r"S?(U(CT+)*A)*U(CT+)*")


class SourceAnswer(NamedTuple):
    """The answer that a source brings: the assistant's turn at the end of its conversation, or a column."""

    text: str
    reasoning: str | None = None
    tool_calls: list[tools.Call] | None = None


class Conversation(NamedTuple):
    """Messages in canonical form, which end with the user or with a tool's results."""

    messages: list[dict[str, Any]]
    answer: SourceAnswer | None = None  # the assistant's last turn, cut off
    extras: dict[str, Any] | None = None  # what else the turns hold, such as names: number of the message → keys


class _Turn(NamedTuple):
    role: str
    content: str
    extras: dict[str, Any]
    more: dict[str, Any]  # the message's keys beside role and content: tool_calls, or tool_call_id and name

    @property
    def letter(self) -> str:
        return "C" if self.more and self.role == "assistant" else self.role[0].upper()


def conversation(turns: Any, column: str) -> Conversation:
    """Raises Refused."""
    turns = tools.decoded(turns)  # a CSV cell can hold no list
    if isinstance(turns, str):
        turns = dialogues.spoken(turns)
    if not isinstance(turns, list) or not turns:
        raise Refused(f"{column} is not a list of messages, nor a text with Human: or USER: before its turns")
    read: list[_Turn] = []
    for number, turn in enumerate(turns, start=1):
        read.append(_turn(number, turn, read))
    last = read.pop() if read[-1].role == "assistant" else None
    for number, one in enumerate(read, start=1):
        if not one.content.strip() and one.letter in "UA":
            raise Refused(f"message {number} has empty content")
    read = [one for one in read if one.content.strip() or one.letter in "CT"]  # an empty system text is none
    _check_order(read, cut=last is not None)
    extras = {str(number): one.extras for number, one in enumerate(read, start=1) if one.extras}
    messages = [{"role": one.role, "content": one.content} | one.more for one in read]
    return Conversation(messages, _answer(last), extras or None)


def answer_in(turns: list[Any], column: str) -> SourceAnswer:
    """The assistant's turn at the end of a list, whatever stands before it. Raises Refused."""
    last = _turn(len(turns), turns[-1], []) if turns else None
    answer = _answer(last) if last and last.role == "assistant" else None
    if answer is None:
        raise Refused(f"{column} does not end with a turn of the assistant")
    return answer


def _turn(number: int, turn: Any, before: list[_Turn]) -> _Turn:
    if not isinstance(turn, dict):
        raise Refused(f"message {number} is not an object with role and content")
    rest = {key: value for key, value in turn.items() if value is not None}
    role, is_call = _role(number, rest.pop("role", rest.pop("from", None)))
    for key, value in rest.items():
        if value and (key in MEDIA or key in ("tools", "functions")):
            named = MEDIA.get(key) or f"{key}, which belong to the whole record"
            raise Refused(f"message {number} has {named}" + (f", {NOT_TAKEN}" if key in MEDIA else ""))
    content = rest.pop("content", rest.pop("value", None))
    if isinstance(content, list) and not is_call:
        content = _joined(number, content, rest)
    given = content if is_call else rest.pop("tool_calls", None) or rest.pop("function_call", None)
    if given:
        return _calling(number, role, "" if is_call or content is None else content, given, rest, before)
    if role == "tool":
        return _result(content, rest, before)
    if not isinstance(content, str):
        raise Refused(f"message {number} has a content that is not a string")
    return _Turn(role, content, rest, {})


def _calling(number: int, role: str, content: Any, given: Any, rest: dict[str, Any], before: list[_Turn]) -> _Turn:
    """A turn of the assistant that calls tools. Raises Refused."""
    if role != "assistant" or not isinstance(content, str):
        raise Refused(f"message {number} calls a tool and is no assistant's, or its content is not a string")
    earlier = sum(len(turn.more.get("tool_calls", ())) for turn in before)
    try:
        calls = tools.calls(given, first=earlier + 1)
    except ValueError as exc:
        raise Refused(f"message {number} {exc}; expected tool_calls as OpenAI has them") from exc
    return _Turn(role, content, rest, {"tool_calls": calls})


def _result(content: Any, rest: dict[str, Any], before: list[_Turn]) -> _Turn:
    """A tool's result; one that names no call is that of the first call without a result."""
    calls: list[tools.Call] = next((turn.more["tool_calls"] for turn in reversed(before) if turn.letter == "C"), [])
    results = [turn for turn in before if turn.role == "tool"]
    answered = {turn.more.get("tool_call_id") for turn in results}
    given = rest.pop("tool_call_id", None)
    id = given if isinstance(given, str) else next((call["id"] for call in calls if call["id"] not in answered), None)
    more = {"tool_call_id": id, "name": rest.pop("name", None)}
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return _Turn("tool", text, rest, {key: value for key, value in more.items() if isinstance(value, str) and value})


def _role(number: int, role: Any) -> tuple[str, bool]:
    """The role in our words, and whether the turn's text is a call. Raises Refused."""
    name = role.strip().lower() if isinstance(role, str) else None
    if name in CALL_ROLES:
        return "assistant", True
    if name in RESULT_ROLES:
        return "tool", False
    if name not in ROLES:
        raise Refused(f"message {number} has the role {str(role)[:40]!r}; expected system, user, assistant or tool")
    return ROLES[name], False


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
            raise Refused(f"message {number} has {MEDIA.get(str(kind)) or f'a part {str(kind)[:40]!r}'}, {NOT_TAKEN}")
    return "\n".join(texts)


def _check_order(turns: list[_Turn], *, cut: bool) -> None:
    if _ORDER.fullmatch("".join(turn.letter for turn in turns)):
        return
    got = ", ".join([*(turn.role for turn in turns), *(["assistant"] if cut else [])])
    of_tools = "; a tool's result follows the call" if any(turn.letter in "CT" for turn in turns) else ""
    raise Refused(f"roles must go user, assistant, …, user, after at most one system{of_tools}; got {got[:80]}")


def _answer(turn: _Turn | None) -> SourceAnswer | None:
    if turn is None:
        return None
    thoughts = (turn.extras[key] for key in THOUGHT_KEYS if isinstance(turn.extras.get(key), str))
    return SourceAnswer(turn.content, next(thoughts, None), turn.more.get("tool_calls"))
