"""CSV with any delimiter as records."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from persyn.errors import InputError
from persyn.imports.json_rows import too_long
from persyn.imports.lines import BOM, read_lines
from persyn.imports.records import Record, Rejected, excerpt

DELIMITERS = ",;\t|^~\x1f\x01"
_SEPARATOR = re.compile(rb'"?sep=(.)"?\s*')  # Excel's own first line


@dataclass
class _CsvLines:
    """Text lines for csv.reader, without those that are too long; `start` is the line on which the record began.

    Bytes that are not UTF-8 become surrogates, so that they do not upset the quoting of the lines after them.
    """

    stream: BinaryIO
    max_bytes: int
    start: int = 0
    too_long: list[Rejected] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        for line in read_lines(self.stream, self.max_bytes):
            if line.too_long:
                self.too_long.append(too_long(line, self.max_bytes))
                continue
            if line.number == 1 and _SEPARATOR.fullmatch(line.raw):
                continue
            self.start = self.start or line.number
            yield line.raw.decode("utf-8", "surrogateescape")


def delimiter_of(head: bytes) -> str:
    """The delimiter that Excel's line `sep=;` names, or that cuts the header into the most columns; else a comma."""
    first_line = head.removeprefix(BOM).split(b"\n")[0]
    if said := _SEPARATOR.fullmatch(first_line):
        return said[1].decode("latin-1")
    first = first_line.decode("utf-8", "surrogateescape")

    def columns(delimiter: str) -> int:
        row = _next_row(csv.reader([first], delimiter=delimiter))
        return len(row) if isinstance(row, list) else 0

    return max(DELIMITERS, key=columns)


def read_csv(name: str, stream: BinaryIO, max_bytes: int, delimiter: str) -> Iterator[Record | Rejected]:
    """Raises InputError where the file has no header."""
    csv.field_size_limit(max_bytes)  # an unclosed quote can swallow no more than this
    lines = _CsvLines(stream, max_bytes)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(name, reader)
    while True:
        lines.start = 0
        row = _next_row(reader)
        yield from lines.too_long
        lines.too_long.clear()
        if row is None:
            break
        if isinstance(row, str):
            yield Rejected(lines.start, f"broken CSV: {row}", "")
        elif row:
            yield _record(lines.start, header, row)


def _next_row(reader: Iterator[list[str]]) -> list[str] | str | None:
    """The next row, or the sentence that says what is wrong with it, or None at the end."""
    try:
        return next(reader, None)
    except csv.Error as exc:
        return str(exc)


def _header(name: str, reader: Iterator[list[str]]) -> list[str]:
    """The columns' names; the first has none where pandas wrote its index there."""
    row = _next_row(reader)
    header = [column.strip() for column in row] if isinstance(row, list) else []
    if not all(header[1:]) or not any(header) or not "".join(header).isprintable():
        raise InputError(f"{name}: has no CSV header. Its first line must name every column, in UTF-8.")
    if len(set(header)) < len(header):
        raise InputError(f"{name}: two columns of its header have the same name: {', '.join(header)}.")
    return header


def _record(line: int, header: list[str], row: list[str]) -> Record | Rejected:
    if len(row) != len(header):
        return Rejected(line, f"has {len(row)} columns where the header has {len(header)}", excerpt(row))
    try:
        "".join(row).encode("utf-8")
    except UnicodeEncodeError:
        return Rejected(line, "not UTF-8", excerpt(row))
    return Record(line, {name: value for name, value in zip(header, row, strict=True) if value and name}, None)
