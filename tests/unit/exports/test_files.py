"""The files themselves: the same rows in either format, in row groups and shards, and the same bytes each time."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from persyn.config import Format
from persyn.exports import layouts
from persyn.exports.files import ROW_GROUP, Finished, ParquetSink, open_sink
from persyn.exports.layouts import RowForm

SHAPE = RowForm("prompt_completion", columns=("quality",))
WORDS = "ä\u2028\u2029\x85\n\U0001f642"


def rows(make_answer: Any, count: int) -> list[dict[str, Any]]:
    def answer(n: int) -> Any:
        quality = None if n % 2 else 1.0
        return make_answer(prompt_id=n, messages=[{"role": "user", "content": WORDS}], quality=quality)

    return [layouts.row(answer(n), SHAPE) for n in range(count)]


def write(folder: Path, stem: str, format: Format, rows: list[dict[str, Any]]) -> Path:
    with open_sink(folder, stem, format, layouts.schema(SHAPE)) as sink:
        for row in rows:
            sink.add(row, 10)
        (finished,) = sink.finish()
    assert finished.rows == len(rows)
    return finished.path


def test_both_formats_hold_the_same_rows(tmp_path: Path, make_answer: Any) -> None:
    given = rows(make_answer, 20)
    lines = write(tmp_path, "a", "jsonl", given).read_text(encoding="utf-8").splitlines()  # at every kind of line end
    assert [json.loads(line) for line in lines] == given
    assert pq.read_table(write(tmp_path, "a", "parquet", given)).to_pylist() == given


def test_parquet_is_written_in_row_groups_with_an_index_of_its_pages(tmp_path: Path, make_answer: Any) -> None:
    metadata = pq.read_metadata(write(tmp_path, "a", "parquet", rows(make_answer, 2 * ROW_GROUP + 1)))
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [ROW_GROUP, ROW_GROUP, 1]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}
    assert all(group.column(0).has_offset_index for group in groups)


def test_a_row_group_ends_where_its_texts_are_large(tmp_path: Path, make_answer: Any) -> None:
    with open_sink(tmp_path, "a", "parquet", layouts.schema(SHAPE)) as sink:
        for row in rows(make_answer, 5):
            sink.add(row, 40 << 20)
        (finished,) = sink.finish()
    metadata = pq.read_metadata(finished.path)
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [2, 2, 1]


def test_shards_have_their_number_and_all_rows_in_order(tmp_path: Path, make_answer: Any) -> None:
    given = rows(make_answer, 2 * ROW_GROUP + 1)
    with ParquetSink(tmp_path, "train", layouts.schema(SHAPE), shard_bytes=1000) as sink:
        for row in given:
            sink.add(row, 10)
        shards = sink.finish()
    assert shards == [
        Finished(tmp_path / f"train-0000{number}-of-00003.parquet", count)
        for number, count in enumerate((ROW_GROUP, ROW_GROUP, 1))
    ]
    assert [row for shard in shards for row in pq.read_table(shard.path).to_pylist()] == given


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_an_empty_file_is_still_a_file_of_its_format(tmp_path: Path, format: Format) -> None:
    path = write(tmp_path, "a", format, [])
    assert (path.read_bytes() == b"") if format == "jsonl" else (pq.read_table(path).num_rows == 0)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, make_answer: Any, format: Format) -> None:
    given = rows(make_answer, 100)
    first, second = (write(tmp_path, stem, format, given) for stem in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
