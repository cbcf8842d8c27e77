"""Reads records from a user's file: JSONL, JSON, CSV or Parquet, gzipped or not, or standard input.

A bad record becomes a `Rejected` and reading goes on. Only a file that cannot be read at all is an error.
"""

import csv
import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from persyn.errors import ConfigError, InputError, NotFound
from persyn.imports.lines import Line, read_lines

Format = Literal["jsonl", "json", "csv", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
STDIN = "-"
MAX_BYTES = 1 << 20
JSON_FILE_BYTES = 1 << 28  # an array is parsed as a whole, so it must fit into memory
PARQUET_BATCH = 256
EXCERPT_CHARS = 200
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Record(NamedTuple):
    line: int  # the line on which it starts, or its place (from 1) in an array or a Parquet file
    values: Any  # a dict of keys and values where the record is an object
    raw: bytes | None  # the line's bytes in the file, where the format has lines


class Rejected(NamedTuple):
    line: int
    reason: str
    excerpt: str


def excerpt(raw: Any) -> str:
    """The first characters of a record, as text that can be stored and printed whatever the bytes were."""
    if isinstance(raw, bytes):
        return raw[: EXCERPT_CHARS * 4].decode("utf-8", "backslashreplace").rstrip("\r\n")[:EXCERPT_CHARS]
    return repr(raw)[:EXCERPT_CHARS]


@dataclass
class Source:
    """An open file. `share()` is the part of it that has been read, from 0 to 1; None for a stream without a size."""

    name: str
    format: Format
    file: BinaryIO  # the bytes as they lie on the disk
    stream: BinaryIO  # the same, decompressed
    size: int | None
    _parquet_share: float | None = field(default=None, init=False)

    def share(self) -> float | None:
        if self._parquet_share is not None or not self.size:
            return self._parquet_share
        return min(1.0, self.file.tell() / self.size)

    def records(self, max_bytes: int = MAX_BYTES) -> Iterator[Record | Rejected]:
        """Every record in the file's order; a blank line is none.

        Raises InputError where the file is damaged or is not of its format.
        """
        try:
            yield from self._read(max_bytes)
        except (OSError, EOFError, zlib.error, pa.ArrowException) as exc:
            problem = " ".join(str(exc).split())
            raise InputError(f"{self.name}: cannot be read to its end as {self.format}: {problem}.") from exc

    def _read(self, max_bytes: int) -> Iterator[Record | Rejected]:
        match self.format:
            case "jsonl":
                return _read_jsonl(self.stream, max_bytes)
            case "json":
                return _read_json(self.name, self.stream)
            case "csv":
                return _read_csv(self.name, self.stream, max_bytes)
            case "parquet":
                return self._read_parquet()

    def _read_parquet(self) -> Iterator[Record | Rejected]:
        parquet = pq.ParquetFile(self.stream, pre_buffer=False, buffer_size=MAX_BYTES)
        total, number = parquet.metadata.num_rows, 0
        for batch in parquet.iter_batches(batch_size=PARQUET_BATCH):
            for values in _rows(batch):
                number += 1
                yield Rejected(number, "not UTF-8", "") if values is None else Record(number, values, None)
            self._parquet_share = number / total


@contextmanager
def open_source(location: str, format: Format | None = None) -> Iterator[Source]:
    """Open a path, or standard input for `-` (JSONL unless `format` says otherwise).

    Raises NotFound, InputError where it cannot be opened, ConfigError where its format cannot be told.
    """
    chosen = format or _format_of(location)
    with ExitStack() as stack:
        if location == STDIN:
            if chosen == "parquet":
                raise ConfigError("Parquet cannot be read from standard input. Name the file instead.")
            stream = cast(BinaryIO, sys.stdin.buffer)
            yield Source("stdin", chosen, stream, stream, None)
            return
        file = stack.enter_context(_open(Path(location)))
        compressed = location.lower().endswith(".gz")
        stream = cast(BinaryIO, stack.enter_context(gzip.open(file))) if compressed else file
        yield Source(location, chosen, file, stream, os.fstat(file.fileno()).st_size)


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file.") from None
    except OSError as exc:
        raise InputError(f"{path}: cannot be opened: {exc.strerror}.") from exc


def _format_of(location: str) -> Format:
    if location == STDIN:
        return "jsonl"
    suffix = Path(location.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise ConfigError(f"{location}: its format cannot be told from its name. Add --format {'|'.join(FORMATS)}.")
    return SUFFIXES[suffix]


def known_format(name: str) -> Format:
    """Raises ConfigError."""
    if name not in FORMATS:
        raise ConfigError(f"--format {name}: expected {', '.join(FORMATS)}.")
    return cast(Format, name)


def _read_jsonl(stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    for line in read_lines(stream, max_bytes):
        if line.too_long:
            yield _too_long(line, max_bytes)
        elif line.raw.strip():
            yield _parse_line(line)


def _too_long(line: Line, max_bytes: int) -> Rejected:
    return Rejected(line.number, f"longer than {max_bytes} bytes", excerpt(line.raw))


def _parse_line(line: Line) -> Record | Rejected:
    try:
        return Record(line.number, _DECODER.decode(line.raw.decode("utf-8")), line.raw)
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except json.JSONDecodeError as exc:
        reason = f"broken JSON: {exc.msg} at column {exc.colno}"
    except (ValueError, RecursionError) as exc:  # NaN, an integer of thousands of digits, endless nesting
        reason = f"broken JSON: {exc}"
    return Rejected(line.number, reason, excerpt(line.raw))


def _read_json(name: str, stream: BinaryIO) -> Iterator[Record | Rejected]:
    data = stream.read(JSON_FILE_BYTES + 1)
    if len(data) > JSON_FILE_BYTES:
        raise InputError(f"{name}: larger than {JSON_FILE_BYTES >> 20} MiB. Convert it to JSONL: `jq -c '.[]' FILE`.")
    try:
        array = _DECODER.decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{name}: not valid JSON: {exc}. With one object a line, add --format jsonl.") from exc
    if not isinstance(array, list):
        raise InputError(f"{name}: expected an array of objects. With one object a line, add --format jsonl.")
    for number, values in enumerate(array, start=1):
        yield Record(number, values, None)


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
                self.too_long.append(_too_long(line, self.max_bytes))
                continue
            self.start = self.start or line.number
            yield line.raw.decode("utf-8", "surrogateescape")


def _read_csv(name: str, stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    csv.field_size_limit(max_bytes)  # an unclosed quote can swallow no more than this
    lines = _CsvLines(stream, max_bytes)
    reader = csv.reader(lines, strict=True)
    header = _csv_header(name, reader)
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
            yield _csv_record(lines.start, header, row)


def _next_row(reader: Iterator[list[str]]) -> list[str] | str | None:
    """The next row, or the sentence that says what is wrong with it, or None at the end."""

    try:
        return next(reader, None)
    except csv.Error as exc:
        return str(exc)


def _csv_header(name: str, reader: Iterator[list[str]]) -> list[str]:
    row = _next_row(reader)
    header = [column.strip() for column in row] if isinstance(row, list) else []
    if not all(header) or not header or not "".join(header).isprintable():
        raise InputError(f"{name}: has no CSV header. Its first line must name every column, in UTF-8.")
    if len(set(header)) < len(header):
        raise InputError(f"{name}: two columns of its header have the same name: {', '.join(header)}.")
    return header


def _csv_record(line: int, header: list[str], row: list[str]) -> Record | Rejected:
    if len(row) != len(header):
        return Rejected(line, f"has {len(row)} columns where the header has {len(header)}", excerpt(row))
    try:
        "".join(row).encode("utf-8")
    except UnicodeEncodeError:
        return Rejected(line, "not UTF-8", excerpt(row))
    return Record(line, {column: value for column, value in zip(header, row, strict=True) if value}, None)


def _rows(batch: Any) -> list[dict[str, Any] | None]:
    """The rows of a record batch; None for one whose text is not UTF-8."""
    try:
        return cast(list[dict[str, Any] | None], batch.to_pylist())
    except UnicodeDecodeError:
        if len(batch) == 1:
            return [None]
        return [row for index in range(len(batch)) for row in _rows(batch.slice(index, 1))]
