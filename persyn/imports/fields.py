r"""Where a field of a record is read: a column, a template over several, or the final answer inside a solution."""

import math
import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any, NamedTuple

from persyn.errors import ConfigError

Values = Mapping[str, Any]
TOO_LARGE = "is a number too large for a computer, as 1e999 is; write it as a text, in quotes"
HASHES = "####"  # GSM8K's solutions end with it and the final answer
BOX = "\\boxed"
_BOX_COMMAND = re.compile(r"\\f?box(?:ed)?(?![a-z])")  # some solutions of MATH are in \fbox


class Refused(Exception):
    """A record is no prompt, or its answer is none; the message says why, without a full stop."""


class Field(NamedTuple):
    """Where a field is read."""

    words: str  # for people, such as "instruction, then input"
    columns: tuple[str, ...]
    read: Callable[[Values], Any]  # raises Refused
    keeps: bool = False  # whether its columns hold more, which stays in the metadata


def column(name: str) -> Field:
    return Field(name, (name,), lambda values: values.get(name))


def template(text: str) -> Field:
    r"""A text with `{column}` in it, and `\n` for a line break.

    An empty column takes the white space before it along, so that no prompt ends with a blank line.
    Raises ConfigError.
    """
    pieces = _pieces(text)
    names = tuple(dict.fromkeys(name for _, name in pieces if name))

    def read(values: Values) -> str | None:
        filled = [(literal, _as_text(values, name) if name else "") for literal, name in pieces]
        if not any(value for _, value in filled):
            return None
        return "".join(
            literal + value if value or name is None else literal.rstrip()
            for (literal, value), (_, name) in zip(filled, pieces, strict=True)
        ).lstrip("\n")

    return Field(", then ".join(names), names, read)


def after_hashes(name: str) -> Field:
    """GSM8K's final answer: the text after the last `####`."""

    def read(values: Values) -> str:
        solution = values.get(name)
        if not isinstance(solution, str) or HASHES not in solution:
            raise Refused(
                f"{name} holds no {HASHES} before a final answer; --map prompt=COLUMN --map reference_answer={name}"
                " takes it whole"
            )
        return solution.rpartition(HASHES)[2].strip()

    return Field(f"{name} after {HASHES}", (name,), read)


def boxed(name: str) -> Field:
    r"""MATH's final answer: the inside of the last `\boxed{}` of a solution; none where it has no whole box."""

    def read(values: Values) -> str | None:
        solution = values.get(name)
        return last_box(solution) if isinstance(solution, str) else None

    return Field(f"the last {BOX} of {name}", (name,), read)


def inside(name: str, key: str, *, keeps: bool = False) -> Field:
    """A value within the object of a column; none where the column holds no object."""

    def read(values: Values) -> Any:
        whole = values.get(name)
        return whole.get(key) if isinstance(whole, dict) else None

    return Field(f"{name}.{key}", (name,), read, keeps)


def first_of(*fields: Field) -> Field:
    """The first of several places that is not blank."""

    def read(values: Values) -> Any:
        found = (field.read(values) for field in fields)
        return next((value for value in found if value is not None and str(value).strip()), None)

    return Field(" or ".join(field.words for field in fields), tuple(n for f in fields for n in f.columns), read)


def last_box(solution: str) -> str | None:
    """The text inside the last box, whose braces may nest; TeX also takes one bare word for a box's content."""
    boxes = list(_BOX_COMMAND.finditer(solution))
    if not boxes:
        return None
    before, rest = solution[: boxes[-1].start()], solution[boxes[-1].end() :].lstrip()
    if not rest:
        return None
    if rest[0] != "{":
        return rest.split("$")[0].strip().rstrip(".") or None
    depth, place = 0, 0
    while place < len(rest):
        depth += {"{": 1, "}": -1}.get(rest[place], 0)
        if depth == 0:
            return rest[1:place].strip() or None
        place += 2 if rest[place] == "\\" else 1  # an escaped brace is text
    return last_box(before)


def _pieces(text: str) -> list[tuple[str, str | None]]:
    """Each literal with the column after it; none after the last."""
    try:
        parsed = list(Formatter().parse(text.replace("\\n", "\n").replace("\\t", "\t")))
    except ValueError as exc:
        raise ConfigError(f"--map {text}: {exc}. A column stands in braces, a brace itself is doubled.") from exc
    if any(name is not None and (not name or spec or conversion) for _, name, spec, conversion in parsed):
        raise ConfigError(f"--map {text}: in braces stands the name of a column, and nothing else.")
    return [(literal, name) for literal, name, _, _ in parsed]


def _as_text(values: Values, name: str) -> str:
    value = values.get(name)
    if value is None or value != value:
        return ""
    if isinstance(value, float) and math.isinf(value):
        raise Refused(f"{name} {TOO_LARGE}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refused(f"{name} is not a text")
    return str(value) if not isinstance(value, str) or value.strip() else ""
