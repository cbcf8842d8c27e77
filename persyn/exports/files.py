"""Writes the files of an export: rows come one by one and leave memory one by one, or in row groups."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from persyn.exports.rows import Layout

Format = Literal["jsonl", "parquet"]
ROW_GROUP = 5000

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_CONVERSATION = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_ORIGIN = [
    ("prompt_id", pa.int64()),
    ("external_id", pa.string()),
    ("teacher", pa.string()),
    ("generation_id", pa.int64()),
]
_SCHEMAS = {
    "messages": pa.schema([("messages", _CONVERSATION), *_ORIGIN]),
    "prompt_completion": pa.schema([("prompt", _CONVERSATION), ("completion", _CONVERSATION), *_ORIGIN]),
}


class Sink(Protocol):
    def add(self, row: dict[str, Any]) -> None: ...

    def finish(self) -> None: ...


class JsonlSink:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, row: dict[str, Any]) -> None:
        self._file.write(_ENCODER.encode(row).encode() + b"\n")

    def finish(self) -> None:
        """Do nothing, because no row is held back."""


class ParquetSink:
    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._schema = _SCHEMAS[layout]
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()


@contextmanager
def open_sink(path: Path, format: Format, layout: Layout) -> Iterator[Sink]:
    """A new file that is complete and on the disk when the block ends without an error."""

    with path.open("wb") as file:
        sink: Sink = JsonlSink(file) if format == "jsonl" else ParquetSink(file, layout)
        yield sink
        sink.finish()
        file.flush()
        os.fsync(file.fileno())
