"""Says in plain words why a text is no YAML: where, the likely reason, and what to type.

The parser's own words name its grammar and not the mistake, and quote the line, which may hold a secret.
"""

import re
from typing import NamedTuple

import yaml

from persyn.config.secrecy import SECRET_KEY, looks_secret

_OPENING = {"}": "{", "]": "["}
_INDENTATION = "the indentation does not fit."
_TEXT_AFTER_COLON = re.compile(r"(?P<key>[\w.-]+):[ \t]+(?P<value>[^\s,{}\[\]\"'][^,{}\[\]\"']*)$")


class _Spot(NamedTuple):
    """A place in the text, counted from 0, with the line that it is in."""

    line: int
    column: int
    text: str

    @property
    def before(self) -> str:
        return self.text[: self.column]

    def __str__(self) -> str:
        return f"line {self.line + 1}, column {self.column + 1}"


def in_words(exc: yaml.YAMLError, text: str) -> str:
    """One sentence or two: place, reason, remedy."""
    if isinstance(exc, yaml.reader.ReaderError):
        before = text[: exc.position].split("\n")
        spot = _Spot(len(before) - 1, len(before[-1]), "")
        return f"{spot}: the character U+{ord(text[exc.position]):04X} cannot stand in YAML. Remove it."
    if not isinstance(exc, yaml.MarkedYAMLError) or exc.problem_mark is None:
        return f"it is not valid YAML: {' '.join(str(exc).split())}."
    lines = text.splitlines()
    spot = _spot(exc.problem_mark, lines)
    problem = exc.problem or ""
    begun = None if exc.context_mark is None else _spot(exc.context_mark, lines)
    if begun is not None and "quoted scalar" in (exc.context or "") and "unexpected end" in problem:
        return f"{begun}: the quotation mark that opens here is never closed. Close it."
    if "another document" in problem:
        return f"{spot}: a second document begins here, and a run is one. Remove the line --- and all that follows it."
    words = _reason(problem, exc.context or "", spot, begun)
    return f"{spot}: {words if words != _INDENTATION else _beside_the_line_above(spot, lines)}"


def _spot(mark: yaml.Mark, lines: list[str]) -> _Spot:
    return _Spot(mark.line, mark.column, lines[mark.line] if mark.line < len(lines) else "")


def _reason(problem: str, context: str, spot: _Spot, begun: _Spot | None) -> str:
    indentation = spot.text[: len(spot.text) - len(spot.text.lstrip())]
    if "\t" in indentation or "'\\t'" in problem:
        return "a tab stands where YAML takes spaces alone. Replace each tab by spaces, two for each level."
    if "flow" in context and begun is not None:
        return _in_brackets(problem, spot, begun)
    if problem == "mapping values are not allowed here":
        return _second_colon(spot) or _INDENTATION
    if "expected <block end>" in problem:
        return _after_quotes(spot) or _INDENTATION
    if "expected ':'" in problem and begun is not None:
        return _no_colon(begun)
    return _of_one_character(problem) or _of_a_construct(problem) or f"this is not YAML: {_plain(problem)}."


def _in_brackets(problem: str, spot: _Spot, begun: _Spot) -> str:
    closing = "]" if "']'" in problem else "}"
    opening = f"the bracket {_OPENING[closing]} that opens in line {begun.line + 1}, column {begun.column + 1}"
    if "<stream end>" in problem:
        return f"{opening} is never closed. Add {closing} where it ends."
    if spot.line > begun.line:
        return f"{opening} is not closed, or a comma is missing behind an entry. Add {closing} or the comma."
    if "got ':'" in problem:
        without_comma = re.search(r":\s+[^\s,{}\[\]:]+\s+([\w-]+)$", spot.before)
        if without_comma is not None and not looks_secret(without_comma[1]):
            return f"a comma is missing before {without_comma[1]}. Add it, or put the whole value in quotes."
        return _second_colon(spot) or "a colon stands where a comma or the end is expected. Put the text in quotes."
    return f"a comma or {closing} is missing before this. Add it."


def _second_colon(spot: _Spot) -> str | None:
    """The advice for `model: bundled: x`, a value that holds a colon and stands in no quotes."""
    found = _TEXT_AFTER_COLON.search(spot.before)
    if found is None:
        return None
    key, value = found["key"], found["value"] + re.split(r"[,{}\[\]]|\s#", spot.text[spot.column :])[0].rstrip()
    example = "" if SECRET_KEY.search(key) or looks_secret(value) else f', as in {key}: "{value}"'
    return f"quotes are missing: the value of {_key(key)} holds a colon. Put it in quotes{example}."


def _key(key: str) -> str:
    return "this key" if looks_secret(key) else key


def _after_quotes(spot: _Spot) -> str | None:
    if spot.before.rstrip()[-1:] not in ('"', "'"):
        return None
    return (
        "text stands behind a closing quotation mark, or an earlier quotation mark is not closed."
        " Put the whole value in one pair of quotes."
    )


def _beside_the_line_above(spot: _Spot, lines: list[str]) -> str:
    """The reason that the line above tells: a space that is missing there, else the columns of both."""
    number = next((n for n in range(spot.line - 1, -1, -1) if lines[n].strip() and lines[n].lstrip()[0] != "#"), 0)
    for place in (number, spot.line):
        missing = re.match(r"\s*(- +)?([\w-]+:)(?=[^\s])", lines[place]) or re.match(r"\s*()(-)(?=\w)", lines[place])
        if missing is not None and not looks_secret(missing[2]):
            return f"a space is missing behind {missing[2]} in line {place + 1}. Add it."
    columns = [len(line) - len(line.lstrip(" -")) + 1 for line in (spot.text, lines[number])]
    return (
        f"{_INDENTATION} This line's key begins in column {columns[0]}, the one above in column {columns[1]}."
        " Put the keys of one section exactly below each other."
    )


def _no_colon(begun: _Spot) -> str:
    word = re.match(r"[\w-]+:(?=\S)", begun.text[begun.column :])
    if word is not None and not looks_secret(word[0]):
        return f"a space is missing behind {word[0]} in line {begun.line + 1}. Write {word[0]} VALUE."
    return (
        f"line {begun.line + 1} has no colon with a space behind it, so it is neither a key with its value nor a part"
        " of the text above it. Write KEY: VALUE, or put the text in quotes."
    )


def _of_one_character(problem: str) -> str | None:
    found = re.match(r"found character '(.+)' that cannot start any token", problem)
    if found is not None:
        return f"a value cannot begin with {found[1]} unless it stands in quotes. Put it in quotes."
    if "escape character" in problem or "hexadecimal" in problem:
        return "a backslash means something else inside double quotes. Use single quotes, or write it twice."
    if "expected alphabetic or numeric character" in problem or "undefined alias" in problem:
        return "a value that begins with * or & means an anchor, and there is none of this name. Put it in quotes."
    if "tag" in problem or "expected URI" in problem:
        return "a value that begins with ! means a type, and there is none of this name. Put it in quotes."
    return None


def _of_a_construct(problem: str) -> str | None:
    if problem.startswith(("key ", "the value ", "the number ")):  # ours
        return problem
    if problem == "sequence entries are not allowed here":
        return "a list begins on a line of its own. Put each - below its key, or write [a, b]."
    if "unhashable key" in problem:
        return (
            "a key must be a word. Where this was meant to be filled in, as in {{ NAME }}, write the value itself:"
            " PerSyn fills in no templates."
        )
    if "indicators" in problem:
        return "the text of a block begins below its | or >. Put it on the next line, indented."
    if "expected the node content" in problem:
        return "a value is missing before this, or there is a comma or a bracket too many."
    return None


def _plain(problem: str) -> str:
    """The parser's words as the end of a sentence; what they quote is at most one character or one of its tokens."""
    return " ".join(problem.split()).rstrip(".")
