"""Writes the files of an export: rows come one by one and leave memory one by one, or in row groups.

Parquet is cut into shards, and a shard into row groups, that the Hugging Face viewer still reads; its pages have an
index. The cuts depend on the rows alone, so that the same rows give the same bytes.
"""

import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from persyn.config import Format

ROW_GROUP = 5000
ROW_GROUP_BYTES = 64 << 20  # of text; the viewer reads no row group above 286 MiB
SHARD_BYTES = 400 << 20  # a shard ends with the row group that goes beyond it

_ENCODER = json.JSONEncoder(ensure_ascii=False)
# Some readers split lines at them; JSON knows them by these names too.
_LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}


class Finished(NamedTuple):
    """A complete file on the disk."""

    path: Path
    rows: int


class Sink(ABC):
    """Takes rows. As a context it closes what is open at its end, also where a row or the disk failed."""

    _file: BinaryIO

    @abstractmethod
    def add(self, row: dict[str, Any], weight: int) -> None:
        """`weight` is about how many bytes the row's texts have."""

    @abstractmethod
    def finish(self) -> list[Finished]:
        """The files in the order of their rows."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # what is buffered for a full disk cannot be written
            self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class JsonlSink(Sink):
    def __init__(self, folder: Path, stem: str) -> None:
        self._path = folder / f"{stem}.jsonl"
        self._file = self._path.open("wb")
        self._count = 0

    def add(self, row: dict[str, Any], weight: int) -> None:
        line = _ENCODER.encode(row)
        for char, name in _LINE_ENDS.items():
            line = line.replace(char, name)
        self._file.write(line.encode() + b"\n")
        self._count += 1

    def finish(self) -> list[Finished]:
        self._sync()
        return [Finished(self._path, self._count)]


class ParquetSink(Sink):
    def __init__(self, folder: Path, stem: str, schema: pa.Schema, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._stem, self._schema, self._shard_bytes = folder, stem, schema, shard_bytes
        self._json = {field.name: field.type for field in schema if _is_json(field.type)}
        self._rows: list[dict[str, Any]] = []
        self._weight = 0
        self._shards: list[Finished] = []
        self._begin()

    def add(self, row: dict[str, Any], weight: int) -> None:
        if not self._rows and self._file.tell() >= self._shard_bytes:
            self._end()
            self._begin()
        self._rows.append(row | {name: _json_text(row.get(name), kind) for name, kind in self._json.items()})
        self._weight += weight
        if len(self._rows) == ROW_GROUP or self._weight >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> list[Finished]:
        if self._rows:
            self._flush()
        self._end()
        count = len(self._shards)
        names = [f"{self._stem}.parquet"]
        if count > 1:
            names = [f"{self._stem}-{number:05}-of-{count:05}.parquet" for number in range(count)]
        return [
            Finished(shard.path.rename(self._folder / name), shard.rows)
            for shard, name in zip(self._shards, names, strict=True)
        ]

    def _begin(self) -> None:
        self._path = self._folder / f"{self._stem}.{len(self._shards)}.unnamed"
        self._count = 0
        self._file = self._path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        )

    def _flush(self) -> None:
        texts = pa.schema([_as_text(field) if field.name in self._json else field for field in self._schema])
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=texts).cast(self._schema))
        self._count += len(self._rows)
        self._rows.clear()
        self._weight = 0

    def _end(self) -> None:
        self._writer.close()
        self._sync()
        self._shards.append(Finished(self._path, self._count))


def _is_json(type: pa.DataType) -> bool:
    return isinstance(type.value_type if pa.types.is_list(type) else type, pa.JsonType)


def _as_text(field: pa.Field) -> pa.Field:
    """The column before its texts are known as JSON, which Arrow makes of no Python value by itself."""
    return field.with_type(pa.list_(pa.string()) if pa.types.is_list(field.type) else pa.string())


def _json_text(value: Any, type: pa.DataType) -> Any:
    """A value of any shape as JSON text, or as a list of such texts."""
    if value is None:
        return None
    return [_ENCODER.encode(one) for one in value] if pa.types.is_list(type) else _ENCODER.encode(value)


def open_sink(folder: Path, stem: str, format: Format, schema: pa.Schema) -> Sink:
    """New files of this format, named by the stem."""
    return JsonlSink(folder, stem) if format == "jsonl" else ParquetSink(folder, stem, schema)
