"""Opens a user's file, packed or not, and reads its records by the format that its name or the user tells.

A bad record becomes a `Rejected` and reading goes on. Only a file that cannot be read at all is an error.
"""

import bz2
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import pyarrow as pa

from persyn.errors import ConfigError, InputError, NotFound
from persyn.imports import hub
from persyn.imports.arrow_rows import read_arrow, read_parquet
from persyn.imports.csv_rows import delimiter_of, read_csv
from persyn.imports.encodings import HEAD_BYTES, check_pointer, check_text
from persyn.imports.json_rows import read_json, read_jsonl, read_text
from persyn.imports.lines import BOM
from persyn.imports.records import MAX_BYTES, Record, Rejected

Format = Literal["jsonl", "json", "csv", "parquet", "arrow", "text"]
FORMATS: tuple[str, ...] = get_args(Format)
TABLES = ("parquet", "arrow")
STDIN = "-"
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
OTHERS = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive. Unpack it, and import the files in it."),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet. Save it as CSV, and import that."),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which may run any program. Save it as Parquet, and import that."),
}
PACKED = (".gz", ".zst", ".xz", ".bz2")
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


@dataclass
class Source:
    """An open file. `share()` is the part of it that has been read, from 0 to 1; None where its size is not known."""

    name: str
    format: Format
    file: BinaryIO  # the bytes as they lie on the disk
    stream: BufferedReader  # the same, unpacked
    size: int | None
    told: bool  # whether the user named the format
    _table_share: float | None = field(default=None, init=False)

    def share(self) -> float | None:
        if self._table_share is not None or not self.size:
            return self._table_share
        return min(1.0, self.file.tell() / self.size)

    def records(self, max_bytes: int = MAX_BYTES) -> Iterator[Record | Rejected]:
        """Every record in the file's order; a blank line is none.

        Raises InputError where the file is damaged or is not of its format.
        """
        try:
            yield from self._read(max_bytes)
        except DAMAGE as exc:
            problem = " ".join(str(exc).split()).rstrip(".")
            raise InputError(f"{self.name}: cannot be read to its end as {self.format}: {problem}.") from exc

    def _read(self, max_bytes: int) -> Iterator[Record | Rejected]:
        head = self.stream.peek(HEAD_BYTES)
        if self.format in TABLES:
            read = read_parquet if self.format == "parquet" else read_arrow
            return read(self.name, cast(BinaryIO, self.stream), self._set_share)
        check_text(self.name, head)
        return self._read_text(head, max_bytes)

    def _read_text(self, head: bytes, max_bytes: int) -> Iterator[Record | Rejected]:
        stream = cast(BinaryIO, self.stream)
        first = head.removeprefix(BOM).lstrip()
        over_lines = first[:1] == b"[" or first.split(b"\n")[0].strip() == b"{"
        match self.format:
            case "csv":
                return read_csv(self.name, stream, max_bytes, delimiter_of(head))
            case "text":
                return read_text(stream, max_bytes)
            case "jsonl" if self.told or not over_lines:
                return read_jsonl(stream, max_bytes)
            case _:
                return read_json(self.name, stream, max_bytes)

    def _set_share(self, share: float) -> None:
        self._table_share = share


@contextmanager
def open_source(location: str, format: Format | None = None) -> Iterator["Source | hub.HubSource"]:
    """Open a path, a name on the hub, or standard input for `-` (JSONL unless `format` says otherwise).

    Raises NotFound, InputError where it cannot be opened, ConfigError where its format cannot be told.
    """
    if location.startswith(hub.PREFIX):
        yield hub.HubSource(location)
        return
    chosen = format or format_of(location)
    with ExitStack() as stack:
        if location == STDIN:
            if chosen in TABLES:
                raise ConfigError(f"{chosen.capitalize()} cannot be read from standard input. Name the file instead.")
            stdin = cast(BinaryIO, sys.stdin.buffer)
            yield Source("stdin", chosen, stdin, _buffered(stdin), None, format is not None)
            return
        file = stack.enter_context(_open(Path(location)))
        check_pointer(location, file.peek(HEAD_BYTES))
        stream = _buffered(_unpacked(location, file))
        yield Source(location, chosen, file, stream, os.fstat(file.fileno()).st_size, format is not None)


def format_of(location: str) -> Format:
    """The format that a name tells. Raises ConfigError."""
    if location == STDIN:
        return "jsonl"
    suffix = suffix_of(location)
    if suffix in OTHERS:
        raise ConfigError(f"{location}: is {OTHERS[suffix]}")
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"{location}: its format cannot be told from its name."
            f" Add --format {'|'.join(FORMATS)} (text: a prompt a line)."
        )
    return SUFFIXES[suffix]


def suffix_of(location: str) -> str:
    """The last suffix in lower case, but for that of the packing."""
    path = Path(location.lower())
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def known_format(name: str) -> Format:
    """Raises ConfigError."""
    if name not in FORMATS:
        raise ConfigError(f"--format {name}: expected {', '.join(FORMATS)}.")
    return cast(Format, name)


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file.") from None
    except OSError as exc:
        raise InputError(f"{path}: cannot be opened: {exc.strerror}.") from exc


def _unpacked(location: str, file: BinaryIO) -> Any:
    match Path(location.lower()).suffix:
        case ".gz":
            return gzip.open(file)
        case ".xz":
            return lzma.open(file)
        case ".bz2":
            return bz2.open(file)
        case ".zst":
            return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        case _:
            return file


def _buffered(stream: Any) -> BufferedReader:
    return stream if isinstance(stream, BufferedReader) else BufferedReader(stream, HEAD_BYTES)
