"""Parquet, Arrow and Feather as records.

A cell that Python has no plain value for (a time of nanoseconds, the year 10000, bytes that are not UTF-8) becomes
`Unreadable`: it costs its record only where the prompt needs it.
"""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from persyn.errors import InputError
from persyn.imports.records import MAX_BYTES, Record, Unreadable

BATCH = 256  # rows
INDEX = "__index_level_0__"  # where pandas keeps its index


def read_parquet(name: str, file: BinaryIO, on_share: Callable[[float], None]) -> Iterator[Record]:
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=MAX_BYTES)
    _check_names(name, parquet.schema_arrow.names)
    total, number = parquet.metadata.num_rows, 0
    for batch in parquet.iter_batches(batch_size=BATCH):
        yield from _records(batch, number)
        number += len(batch)
        on_share(number / total)


def read_arrow(name: str, file: BinaryIO, on_share: Callable[[float], None]) -> Iterator[Record]:
    """The file format, which Feather is too, or the stream format, in which `datasets` saves. Raises InputError."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"FEA1"):
        raise InputError(f"{name}: is of the first version of Feather. Write it anew with a recent pandas or pyarrow.")
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        reader = pa.ipc.open_stream(file)
        batches = iter(reader)
    _check_names(name, reader.schema.names)
    number = 0
    for whole in batches:
        for start in range(0, len(whole), BATCH):
            batch = whole.slice(start, BATCH)
            yield from _records(batch, number)
            number += len(batch)


def _check_names(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{name}: several columns have the same name: {', '.join(twice)[:200]}. Rename them.")


def _records(batch: Any, before: int) -> Iterator[Record]:
    names = [name for name in batch.schema.names if name != INDEX]
    columns = [_cells(batch.column(name)) for name in names]
    for number, row in enumerate(zip(*columns, strict=True), start=before + 1):
        yield Record(number, dict(zip(names, row, strict=True)), None)


def _cells(column: Any) -> list[Any]:
    """The column's values, cell by cell where they cannot be had at once."""
    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        try:
            return list(column.to_pylist())
        except (ValueError, OverflowError, ImportError, pa.ArrowException):  # UnicodeDecodeError is a ValueError
            pass
    return [_cell(column, index) for index in range(len(column))]


def _cell(column: Any, index: int) -> Any:
    scalar = column[index]
    try:
        value = scalar.as_py()
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        buffer = scalar.as_buffer() if hasattr(scalar, "as_buffer") else b""
        return Unreadable("is not UTF-8", f"<{len(buffer)} bytes>")
    except (ValueError, OverflowError, ImportError, pa.ArrowException):
        return Unreadable(f"is a {column.type} that has no text", _written(column, index))


def _written(column: Any, index: int) -> str:
    """The cell as Arrow writes it, or else its number."""
    for kind in (pa.string(), pa.int64()):
        try:
            return str(column.slice(index, 1).cast(kind)[0].as_py())
        except (ValueError, pa.ArrowException):
            continue
    return f"<{column.type}>"
