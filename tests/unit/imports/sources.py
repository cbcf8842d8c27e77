"""A source file written by a test, and what the import's reader finds in it."""

from pathlib import Path
from typing import Any

from persyn.imports.reader import open_source
from persyn.imports.records import Record, Rejected


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(path: Path | str, format: Any = None, max_bytes: int = 1000) -> list[Record | Rejected]:
    with open_source(str(path), format) as source:
        return list(source.records(max_bytes))


def values(records: list[Record | Rejected]) -> list[Any]:
    return [record.values for record in records if isinstance(record, Record)]


def reasons(records: list[Record | Rejected]) -> list[tuple[int, str]]:
    return [(record.line, record.reason) for record in records if isinstance(record, Rejected)]
