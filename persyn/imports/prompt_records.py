"""Turns a user's record into a prompt in canonical form, or into the reason why it is none.

The canonical messages and the tools decide a prompt's identity: two records with the same ones are the same prompt.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from persyn import tools
from persyn.imports.conversation import NOT_TAKEN, Conversation, SourceAnswer, conversation
from persyn.imports.fields import TOO_LARGE, Refused
from persyn.imports.reading import Plan, Reading
from persyn.imports.shapes import NOT_TEXT

MAX_ID_CHARS = 512  # Postgres refuses to index texts above 2,704 bytes
EXTRAS = "message_extras"  # the key in `meta` for what messages hold besides role and content
NOT_STORABLE = "holds a number or a nesting that JSON cannot store"


def _as_text(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_text)
_SORTED = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_as_text)


class Prompt(NamedTuple):
    """A prompt as the table holds it, and the answer that its source brought along.

    `tools_json` is None where the prompt has nothing to do with tools, and an empty list where they stand in its turns
    alone.
    """

    external_id: str | None
    sha256: str
    messages_json: str
    reference_answer: str | None
    meta_json: str
    answer: SourceAnswer | None = None
    tools_json: str | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return json.loads(self.messages_json)  # type: ignore[no-any-return]

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads(self.meta_json)  # type: ignore[no-any-return]


def canonical(values: Any, reading: Reading, *, max_bytes: int | None = None) -> Prompt | str:
    """The prompt that a record holds, or one sentence without a full stop that says why it is refused."""
    try:
        record, plan = reading.plan(values)
        prompt = _canonical(record, plan, max_bytes)
    except Refused as exc:
        return str(exc)
    except RecursionError:
        return NOT_STORABLE
    plan.prompts += 1
    plan.answers += prompt.answer is not None or "answer" in plan.fields or "answers" in plan.fields
    return prompt


def scalar(plan: Plan, field: str, values: Mapping[str, Any]) -> str | None:
    """A field that is a text or a number. Raises Refused."""
    value = plan.read(field, values)
    if isinstance(value, str) or value is None:
        text = value if value is None or field == "id" or value.strip() else None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{plan.fields[field].words} is not a string or a number")
    elif isinstance(value, float) and math.isinf(value):
        raise Refused(f"{plan.fields[field].words} {TOO_LARGE}")
    else:
        text = None if value != value else str(value)  # a table's NaN is a hole
    if field == "id" and text is not None and len(text) > MAX_ID_CHARS:
        raise Refused(f"{plan.fields[field].words} is longer than {MAX_ID_CHARS} characters")
    return text


def json_text(value: Any) -> str:
    """JSON for a jsonb column. What JSON lacks (dates, decimals, bytes) becomes a string, NaN and infinity null."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_finite(value))


def unstorable(*texts: str | None) -> str | None:
    r"""The reason why Postgres would refuse one of the JSON texts, or None: an import would end there.

    In JSON a NUL is written as an escape, before which no odd backslash stands.
    """
    for text in texts:
        if text is None or (text.isascii() and "\\u0000" not in text):
            continue
        if "\\u0000" in text and "\\u0000" in text.replace("\\\\", ""):
            return "holds a NUL character"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return "holds a lone surrogate, which is no character"
    return None


def messages_text(messages: list[dict[str, Any]]) -> str:
    """Messages as canonical JSON, the text that `config.fingerprint` takes the sha256 of."""
    plain = '{{"content":{},"role":"{}"}}'.format
    return "[" + ",".join([
        plain(encode_basestring(m["content"]), m["role"]) if len(m) == 2 else _SORTED.encode(m) for m in messages
    ]) + "]"  # fmt: skip


def _canonical(values: Mapping[str, Any], plan: Plan, max_bytes: int | None) -> Prompt:
    if plan.lacking:
        raise Refused(plan.lacking)
    found = _conversation(plan, values)
    messages = _with_system(found.messages, plan, values)
    if plan.parts:
        _check_parts(plan, values, messages)
    meta = {key: value for key, value in values.items() if key not in plan.used}
    if found.extras:
        meta.setdefault(EXTRAS, found.extras)
    external_id, reference = scalar(plan, "id", values), scalar(plan, "reference_answer", values)
    offered = _tools(plan, values) if "tools" in plan.fields else []
    uses_tools = bool(offered) or any(len(message) > 2 for message in messages)
    messages_json, meta_json = messages_text(messages), json_text(meta) if meta else "{}"
    tools_json = json_text(offered) if uses_tools else None
    scalars = f"{external_id or ''} {reference or ''}"
    problem = unstorable(messages_json, meta_json, tools_json)
    if not problem and ("\0" in scalars or not scalars.isascii()):
        problem = unstorable(json_text(scalars))
    if problem:
        raise Refused(problem)
    texts = [message["content"] for message in messages] if tools_json is None else [messages_json, tools_json]
    if max_bytes is not None and sum(len(text.encode()) for text in (*texts, meta_json, scalars)) > max_bytes:
        raise Refused(f"longer than {max_bytes} bytes")
    same = f'{{"messages":{messages_json},"tools":{_SORTED.encode(offered)}}}' if offered else messages_json
    sha256 = hashlib.sha256(same.encode()).hexdigest()
    return Prompt(external_id, sha256, messages_json, reference, meta_json, found.answer, tools_json)


def _tools(plan: Plan, values: Mapping[str, Any]) -> list[tools.Tool]:
    """The tools that a prompt offers. Raises Refused."""
    given = plan.read("tools", values)
    try:
        return tools.definitions(given) if given else []
    except ValueError as exc:
        where = plan.fields["tools"].words
        raise Refused(f"{where} {exc}; expected {tools.FORM}; --ignore {where} leaves it out") from exc


def _conversation(plan: Plan, values: Mapping[str, Any]) -> Conversation:
    """The conversation, whether the record has it as a prompt, as messages, or as both."""
    prompt = plan.read("prompt", values)
    turns = tools.decoded(plan.read("messages", values)) if "messages" in plan.fields else None
    if turns is None:
        return _from_prompt(plan, prompt)
    blank = prompt is None or prompt == [] or (isinstance(prompt, str) and not prompt.strip())
    if not turns and not blank:
        return _from_prompt(plan, prompt)
    whole = conversation(turns, plan.fields["messages"].words)
    if not blank and not _holds(whole.messages, _from_prompt(plan, prompt).messages):
        columns = plan.fields["prompt"].columns[0], plan.fields["messages"].columns[0]
        raise Refused(
            f"has both {columns[0]} and {columns[1]}, and they differ; --ignore {columns[1]} takes the first,"
            f" --ignore {columns[0]} the second"
        )
    return whole


def _from_prompt(plan: Plan, prompt: Any) -> Conversation:
    where = plan.fields["prompt"].words if "prompt" in plan.fields else plan.fields["messages"].words
    if isinstance(prompt, list) and prompt:
        if all(isinstance(text, str) for text in prompt):
            raise Refused(f"{where} is a list of texts; a table column by column is read with --format json")
        return conversation(prompt, where)
    if prompt is None:
        raise Refused(f"has no {where}")
    if not isinstance(prompt, str):
        raise Refused(f"{where} is not a string")
    if not prompt.strip():
        raise Refused(f"{where} is empty")
    return Conversation([{"role": "user", "content": prompt}])


def _holds(messages: list[dict[str, Any]], prompt: list[dict[str, Any]]) -> bool:
    """Whether a conversation is the prompt, or has its one turn of the user."""
    if len(prompt) > 1:
        return messages == prompt
    turn = prompt[0]["content"].strip()
    return any(message["role"] == "user" and message["content"].strip() == turn for message in messages)


def _with_system(messages: list[dict[str, Any]], plan: Plan, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages with the text of a system column before them."""
    system = plan.read("system", values) if "system" in plan.fields else None
    if system is None or system == []:
        return messages
    where = plan.fields["system"].words
    if isinstance(system, list):  # content parts
        system = conversation([{"role": "user", "content": system}], where).messages[0]["content"]
    if not isinstance(system, str):
        raise Refused(f"{where} is not a string")
    if not system.strip():
        return messages
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    if messages[0]["content"].strip() != system.strip():
        raise Refused(
            f"has two system texts that differ, {where} and the first message; --ignore {where} takes the latter"
        )
    return messages


def _check_parts(plan: Plan, values: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    """Refuse a record that has more of its prompt in a column that nothing reads. Raises Refused."""
    for part in plan.parts:
        value = values[part]
        if not value or value in ("[]", "{}", "null") or (isinstance(value, str) and not value.strip()):
            continue
        if isinstance(value, str) and any(value.strip() in message["content"] for message in messages):
            continue
        prompt = plan.fields.get("prompt")
        if part.casefold() in NOT_TEXT:
            told = NOT_TAKEN
        elif isinstance(value, str) and prompt is not None:
            told = f"which would be lost; --map 'prompt={{{prompt.columns[0]}}}\\n\\n{{{part}}}' takes it in"
        else:
            told = "which would be lost, and is no text that --map could join to the prompt"
        raise Refused(f"has {part}, {told}; --ignore {part} imports the prompt without it")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
