"""Why a text is no JSON, and where."""

import json
from typing import Any

import pytest

from persyn.imports.broken_json import in_words


def broken(text: str) -> str:
    def value(name: str) -> Any:
        raise ValueError(f"there is no {name}")

    with pytest.raises((ValueError, RecursionError)) as told:
        json.loads(text, parse_constant=value)
    return in_words(told.value, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": }', "Expecting value at column 7"),
        ('{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6"),
        ("-" + "9" * 5000, "a number has 5,000 digits at column 1, and 4,300 is the most"),
        ('[1,\n"x", ' + "9" * 5000 + "]", "a number has 5,000 digits at line 2, column 6, and 4,300 is the most"),
        ('["[[[[", "\\"[", ' + "[" * 2000 + "]" * 2001, "brackets nest 2,001 levels deep at column 2016, which"
         " is too deep"),
        ('{"a":' * 2000, "brackets nest 2,000 levels deep at column 9996, which is too deep"),
        ("[NaN]", "there is no NaN"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, words: str) -> None:
    assert broken(text) == words
