"""Says in plain words, and where, why a text is no JSON that PerSyn reads; the parser's words speak of its limits."""

import json
import re
import sys

MOST_DIGITS = sys.get_int_max_str_digits() or 4300
_LONG_NUMBER = re.compile(rf"-?\d{{{MOST_DIGITS + 1},}}(?![\d.eE])")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)


def in_words(exc: Exception, text: str) -> str:
    """The end of a sentence about the text, such as "Expecting value at column 7"; lines are told from the second."""
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg.removesuffix(' at')} at {_place(text, exc.pos)}"
    if isinstance(exc, RecursionError):
        depth, deepest = _deepest(text)
        return f"brackets nest {depth:,} levels deep at {_place(text, deepest)}, which is too deep"
    number = _LONG_NUMBER.search(text)
    if number is not None and "digits" in str(exc):
        digits = len(number[0].lstrip("-"))
        return f"a number has {digits:,} digits at {_place(text, number.start())}, and {MOST_DIGITS:,} is the most"
    return str(exc)


def _place(text: str, position: int) -> str:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return f"column {column}" if line == 1 else f"line {line}, column {column}"


def _deepest(text: str) -> tuple[int, int]:
    """The greatest depth of brackets, and where it is reached first."""
    depth = most = place = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > most:
            most, place = depth, found.start()
    return most, place
