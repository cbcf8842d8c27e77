"""The files themselves: the same rows in either format, in row groups, and the same bytes each time."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from persyn.exports.files import ROW_GROUP, Format, open_sink
from persyn.exports.rows import Layout, RoutedAnswer, training_row


def write(path: Path, format: Format, layout: Layout, count: int) -> list[dict[str, Any]]:
    rows = [
        training_row(
            RoutedAnswer(n, None if n % 2 else f"x{n}", [{"role": "user", "content": "ä\u2028\n"}], "small", n, "2"),
            layout,
        )
        for n in range(count)
    ]
    with open_sink(path, format, layout) as sink:
        for row in rows:
            sink.add(row)
    return rows


@pytest.mark.parametrize("layout", ["messages", "prompt_completion"])
def test_both_formats_hold_the_same_rows(tmp_path: Path, layout: Layout) -> None:
    rows = write(tmp_path / "a.jsonl", "jsonl", layout, 20)
    write(tmp_path / "a.parquet", "parquet", layout, 20)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().split(b"\n")[:-1]] == rows
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_parquet_is_written_in_row_groups(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "parquet", "messages", 2 * ROW_GROUP + 1)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [ROW_GROUP, ROW_GROUP, 1]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_an_empty_file_is_still_a_file_of_its_format(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"a.{format}"
    write(path, format, "messages", 0)
    assert (path.read_bytes() == b"") if format == "jsonl" else (pq.read_table(path).num_rows == 0)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, format: Format) -> None:
    write(tmp_path / "a", format, "messages", 100)
    write(tmp_path / "b", format, "messages", 100)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
