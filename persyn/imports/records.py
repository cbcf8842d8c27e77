"""Records as they come out of a file, good or bad, before anybody asks whether they are prompts."""

from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_BYTES = 1 << 20  # of a record, unless the user says otherwise
EXCERPT_CHARS = 200


class Record(NamedTuple):
    line: int  # the line on which it starts, or its place (from 1) in an array or a table
    values: Any  # a dict of keys and values where the record is an object
    raw: bytes | None  # the line's bytes in the file, where the format has lines


class Rejected(NamedTuple):
    line: int
    reason: str
    excerpt: str


@dataclass(frozen=True)
class Unreadable:
    """A cell that has no plain value here. It costs its record only where the prompt needs it."""

    problem: str  # the end of a sentence that begins with the column's name
    text: str

    def __str__(self) -> str:
        return self.text


def excerpt(raw: Any) -> str:
    """The first characters of a record, as text that can be stored and printed whatever the bytes were."""
    if isinstance(raw, bytes):
        return raw[: EXCERPT_CHARS * 4].decode("utf-8", "backslashreplace").rstrip("\r\n")[:EXCERPT_CHARS]
    return repr(raw)[:EXCERPT_CHARS]
