"""Turns a user's record into a prompt in canonical form, or into the reason why it is none.

The canonical messages decide a prompt's identity: two records with the same messages are the same prompt.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from persyn.config import Message, fingerprint
from persyn.errors import ConfigError

MAX_ID_CHARS = 512  # Postgres refuses to index texts above 2,704 bytes
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
ANSWERS = "responses"  # of teachers; `persyn generations import` reads them
ROLES: tuple[str, ...] = get_args(Message.model_fields["role"].annotation)


class Prompt(NamedTuple):
    external_id: str | None
    sha256: str
    messages: list[dict[str, str]]
    reference_answer: str | None
    meta: dict[str, Any]


class Columns(NamedTuple):
    """The file's key or column for each field; all other keys but the teachers' answers go into `meta`."""

    id: str = "id"
    prompt: str = "prompt"
    messages: str = "messages"
    reference_answer: str = "reference_answer"

    @classmethod
    def parse(cls, mappings: Iterable[str]) -> "Columns":
        """From `field=column` texts. Raises ConfigError."""
        chosen: dict[str, str] = {}
        for mapping in mappings:
            field, _, column = mapping.partition("=")
            if field not in cls._fields or not column or field in chosen:
                expected = ", ".join(f"{name}=COLUMN" for name in cls._fields)
                raise ConfigError(f"--map {mapping}: expected one of {expected}, each at most once.")
            chosen[field] = column
        columns = cls(**chosen)
        if len(set(columns)) < len(columns):
            raise ConfigError(f"--map: two fields would read the same column: {', '.join(columns)}.")
        return columns


def canonical(values: Any, columns: Columns = Columns(), *, max_bytes: int | None = None) -> Prompt | str:
    """The prompt that a record holds, or one sentence without a full stop that says why it is refused."""
    if not isinstance(values, dict):
        return "not an object"
    values = _unpacked(values, columns.messages)
    problem = storable_problem(values, max_bytes) or _wrong_scalars(values, columns)
    if problem:
        return problem
    messages = _messages(values, columns)
    if isinstance(messages, str):
        return messages
    return Prompt(
        external_id=_text(values.get(columns.id)),
        sha256=fingerprint(messages),
        messages=messages,
        reference_answer=_text(values.get(columns.reference_answer)),
        meta={key: value for key, value in values.items() if key not in columns and key != ANSWERS},
    )


def json_text(value: Any) -> str:
    """JSON for a jsonb column. What JSON lacks (dates, decimals, bytes from Parquet) becomes a string.

    Raises ValueError for NaN and infinities.
    """
    return _ENCODER.encode(value)


def _unpacked(values: dict[str, Any], column: str) -> dict[str, Any]:
    """The values with their messages decoded, because a CSV cell can only hold a list as JSON text."""
    text = values.get(column)
    if not isinstance(text, str):
        return values
    try:
        return values | {column: json.loads(text)}
    except (ValueError, RecursionError):
        return values


def storable_problem(values: dict[str, Any], max_bytes: int | None) -> str | None:
    """The reason why Postgres would refuse the values, or None.

    Postgres would end the whole import, so each record is checked before.
    """
    try:
        text = json_text(values)
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is no character"
    except (ValueError, RecursionError):
        return "holds a number or a nesting that JSON cannot store"
    if "\\u0000" in text.replace("\\\\", ""):  # with the escaped backslashes gone, the escape can only be a NUL
        return "holds a NUL character"
    if max_bytes is not None and size > max_bytes:
        return f"longer than {max_bytes} bytes"
    return None


def _wrong_scalars(values: Mapping[str, Any], columns: Columns) -> str | None:
    for column in (columns.id, columns.reference_answer):
        value = values.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            return f"{column} is not a string or a number"
    if len(str(values.get(columns.id))) > MAX_ID_CHARS:
        return f"{columns.id} is longer than {MAX_ID_CHARS} characters"
    return None


def _text(value: str | int | float | None) -> str | None:
    return None if value is None else str(value)


def _messages(values: Mapping[str, Any], columns: Columns) -> list[dict[str, str]] | str:
    prompt, messages = values.get(columns.prompt), values.get(columns.messages)
    if prompt is not None and messages is not None:
        return f"has both {columns.prompt} and {columns.messages}"
    if prompt is not None:
        if not isinstance(prompt, str):
            return f"{columns.prompt} is not a string"
        return [{"role": "user", "content": prompt}] if prompt.strip() else f"{columns.prompt} is empty"
    if messages is None:
        return f"has neither {columns.prompt} nor {columns.messages}"
    return _canonical_messages(messages, columns.messages)


def _canonical_messages(messages: Any, column: str) -> list[dict[str, str]] | str:
    if not isinstance(messages, list) or not messages:
        return f"{column} is not a list of messages"
    for number, message in enumerate(messages, start=1):
        problem = _wrong_message(message)
        if problem:
            return f"message {number} {problem}"
    return _wrong_order([message["role"] for message in messages]) or [
        {"role": message["role"], "content": message["content"]} for message in messages
    ]


def _wrong_message(message: Any) -> str | None:
    if not isinstance(message, dict):
        return "is not an object with role and content"
    unknown = [key for key, value in message.items() if key not in ("role", "content") and value is not None]
    if unknown:
        return f"has the unknown key {unknown[0][:40]!r}"
    if message.get("role") not in ROLES:
        return f"has the role {str(message.get('role'))[:40]!r}; expected {', '.join(ROLES)}"
    content = message.get("content")
    if not isinstance(content, str):
        return "has a content that is not a string"
    return None if content.strip() else "has empty content"


def _wrong_order(roles: list[str]) -> str | None:
    turns = roles[1:] if roles[0] == "system" else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        return f"roles must go user, assistant, …, user, after at most one system; got {', '.join(roles)[:80]}"
    return None
