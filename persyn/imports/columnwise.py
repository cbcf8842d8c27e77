"""A JSON object that is a table column by column, as rows."""

from collections.abc import Sequence
from typing import Any

_SCALARS = (str, int, float, bool, type(None))


def rows(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object of lists, of an object of objects by row number, and of `columns` with `data`.

    None where it is none of these. Raises ValueError with a predicate where the columns' lengths differ.
    """
    if isinstance(whole.get("columns"), list) and isinstance(whole.get("data"), list):
        return _named(whole["columns"], whole["data"])
    if not whole:
        return None
    if all(isinstance(column, dict) and column for column in whole.values()):
        return _by_number(whole)
    if all(isinstance(column, list) for column in whole.values()) and any(map(_is_column, whole.values())):
        lengths = {name: len(column) for name, column in whole.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{str(name)[:40]} {length:,}" for name, length in list(lengths.items())[:8])
            raise ValueError(f"has columns of different lengths: {told}")
        return [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]
    return None


def _is_column(values: Sequence[Any]) -> bool:
    """Whether a list is a column: of texts and numbers, or of lists. One conversation is a list of objects."""
    return bool(values) and (
        all(isinstance(value, _SCALARS) for value in values)
        or all(isinstance(value, list) or value is None for value in values)
    )


def _by_number(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    numbers = list(next(iter(whole.values())))
    if not all(str(number).isdecimal() for number in numbers) or any(list(c) != numbers for c in whole.values()):
        return None
    return [{name: column[number] for name, column in whole.items()} for number in numbers]


def _named(columns: list[Any], data: list[Any]) -> list[dict[str, Any]] | None:
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return None
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]
