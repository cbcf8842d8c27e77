r"""Conversations that are no list of turns with role and content, as such a list.

One text with the speakers' names (HH-RLHF, Glaive), the texts of two speakers by turns (UltraChat), Gemini's parts.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from persyn.imports.fields import Field, Refused, Values

Turn = dict[str, Any]

# A turn begins with its speaker. A text that does not begin so is no dialogue.
_SPEAKERS = (
    re.compile(r"(?:\A|\n\n)(Human|Assistant):[ ]?"),
    re.compile(r"(?:\A|\n\n+)(USER|ASSISTANT|FUNCTION RESPONSE):[ ]?"),
    re.compile(r"(?:\A|\n*)### (Human|Assistant):[ ]?"),
)
_ROLES = {"Human": "user", "USER": "user", "FUNCTION RESPONSE": "tool"}
END = "<|endoftext|>"
CALL = "<functioncall>"
# Glaive puts the arguments' JSON into single quotes, which no JSON has.
_QUOTED_ARGUMENTS = re.compile(r'\{\s*"name":\s*"([^"]+)",\s*"arguments":\s*\'(.*)\'\s*\}', re.DOTALL)
_GEMINI_MEDIA = {"inlineData": "file", "inline_data": "file", "fileData": "file", "file_data": "file"}


def spoken(text: str) -> list[Turn] | None:
    """The turns of a text in which each begins with its speaker; None where it is no such text. Raises Refused."""
    text = text.strip()
    for speakers in _SPEAKERS:
        if speakers.match(text):
            pieces = speakers.split(text)[1:]
            said = zip(pieces[::2], pieces[1::2], strict=True)
            return [_spoken_turn(number, speaker, words) for number, (speaker, words) in enumerate(said, start=1)]
    return None


def by_turns(name: str) -> Field:
    """A list of texts, of which the user said the first; a list of turns stays one."""

    def read(values: Values) -> Any:
        texts = values.get(name)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return texts
        return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]

    return Field(name, (name,), read)


def system_before_functions(name: str) -> Field:
    """Glaive's system text, without its speaker and without the functions at its end."""
    return _part_of(name, lambda text: text[: _functions_at(text)].rstrip().removesuffix("-").rstrip())


def functions_in(name: str) -> Field:
    """The functions at the end of Glaive's system text, one JSON object after the other."""
    return _part_of(name, lambda text: list(_objects(text, _functions_at(text))))


def gemini_turns(name: str) -> Field:
    """Gemini's contents: a role and parts each, or a text alone."""

    def read(values: Values) -> Any:
        contents = values.get(name)
        listed = contents if isinstance(contents, list) else [contents]
        return None if contents is None else [turn for content in listed for turn in _gemini_turns(content)]

    return Field(name, (name,), read)


def gemini_text(name: str) -> Field:
    """The parts of Gemini's system instruction as one content."""

    def read(values: Values) -> Any:
        turns = [] if values.get(name) is None else list(_gemini_turns(values[name]))
        return turns[0].get("content") if turns else None

    return Field(name, (name,), read)


def gemini_tools(name: str) -> Field:
    """The function declarations of Gemini's tools; tools in another form stay as they are."""

    def read(values: Values) -> Any:
        given = values.get(name)
        found: list[Any] = []
        for tool in given if isinstance(given, list) else []:
            declared = tool.get("functionDeclarations", tool.get("function_declarations")) if _is_object(tool) else None
            found += [_in_lower_case(one) for one in declared] if isinstance(declared, list) else [tool]
        return found or given

    return Field(name, (name,), read)


def _spoken_turn(number: int, speaker: str, words: str) -> Turn:
    words = words.strip().removesuffix(END).strip()
    role = _ROLES.get(speaker, "assistant")
    before, marker, call = words.partition(CALL)
    if role != "assistant" or not marker:
        return {"role": role, "content": words}
    quoted = _QUOTED_ARGUMENTS.fullmatch(call.strip())
    given = {"name": quoted[1], "arguments": quoted[2]} if quoted else _json(call)
    if not _is_object(given):
        raise Refused(f"message {number} has a {CALL} without a name and arguments as JSON")
    return {"role": role, "content": before.strip(), "tool_calls": [given]}


def _part_of(name: str, part: Callable[[str], Any]) -> Field:
    def read(values: Values) -> Any:
        text = values.get(name)
        return part(text.strip().removeprefix("SYSTEM:").strip()) if isinstance(text, str) else text

    return Field(name, (name,), read)


def _functions_at(text: str) -> int:
    """The place of the first function's brace, or the text's end."""
    for brace in re.finditer(r"^\{", text, re.MULTILINE):
        found = list(_objects(text, brace.start()))
        if found and all("name" in one for one in found):
            return brace.start()
    return len(text)


def _objects(text: str, start: int) -> Iterator[dict[str, Any]]:
    """The JSON objects that follow each other to the end of the text; none where something else is among them."""
    found, decoder = [], json.JSONDecoder()
    rest = text[start:].strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return
        if not _is_object(value):
            return
        found.append(value)
        rest = rest[end:].lstrip(" \t\r\n,")
    yield from found


def _gemini_turns(content: Any) -> Iterator[Turn]:
    if not _is_object(content):
        yield {"role": "user", "content": content} if isinstance(content, str) else content
        return
    parts = content.get("parts")
    texts: list[Turn] = []
    calls: list[Any] = []
    for part in parts if isinstance(parts, list) else [parts]:
        result = part.get("functionResponse", part.get("function_response")) if _is_object(part) else None
        call = part.get("functionCall", part.get("function_call")) if _is_object(part) else None
        if _is_object(result):
            yield {"role": "tool", "name": result.get("name"), "content": result.get("response")}
        elif _is_object(call):
            calls.append({"name": call.get("name"), "arguments": call.get("args")})
        else:
            texts.append(_gemini_part(part))
    if texts or calls or not parts:
        yield {"role": content.get("role", "user"), "content": texts or ""} | ({"tool_calls": calls} if calls else {})


def _gemini_part(part: Any) -> Turn:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not _is_object(part):
        return {"type": str(part)}
    if isinstance(part.get("text"), str):
        return {"type": "reasoning" if part.get("thought") else "text", "text": part["text"]}
    name = next((key for key, value in part.items() if value is not None), "nothing")
    return {"type": _GEMINI_MEDIA.get(name, name)}


def _in_lower_case(schema: Any) -> Any:
    """A declaration whose types are JSON Schema's: Gemini writes STRING and OBJECT."""
    if isinstance(schema, list):
        return [_in_lower_case(each) for each in schema]
    if not _is_object(schema):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) and value.isupper() else _in_lower_case(value)
        for key, value in schema.items()
    }


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
