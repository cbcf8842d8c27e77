"""Parquet and Arrow: a cell that has no plain value costs nothing that does not need it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persyn.errors import InputError
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.reading import Reading
from tests.unit.imports.sources import read, values


def test_parquet_rows_come_as_objects_in_order(tmp_path: Path) -> None:
    rows = [{"prompt": f"number {n}", "turns": [{"role": "user", "content": "x"}]} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=300)
    records = read(tmp_path / "a.parquet")
    assert values(records) == rows
    assert [record.line for record in records] == list(range(1, 1001))


def test_a_cell_without_a_plain_value_costs_only_itself(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a", "b"],
            "ns": pa.array([1700000000123456789, 1], pa.timestamp("ns")),
            "took": pa.array([1, 2], pa.duration("ns")),
            "at": pa.array([123456789, 0], pa.time64("ns")),
            "late": pa.array([2932897, 0], pa.date32()),  # the first day of the year 10000
            "nested": pa.array([{"t": 1700000000123456789}, None], pa.struct([("t", pa.timestamp("ns"))])),
            "far": pa.array([2**60, 0], pa.timestamp("us", tz="UTC")),
            "picture": pa.array([b"\xff\xd8", b"text"], pa.binary()),
            "share": [float("nan"), 0.5],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    reading = Reading()
    first, second = (canonical(row, reading) for row in values(read(tmp_path / "a.parquet")))
    assert isinstance(first, Prompt)
    assert isinstance(second, Prompt)
    assert first.meta["ns"].startswith("2023-11-14 22:13:20.123456789")
    assert (first.meta["share"], second.meta["share"]) == (None, 0.5)
    assert (first.meta["picture"], second.meta["picture"]) == ("<2 bytes>", "text")
    assert first.meta.keys() == second.meta.keys()


def test_a_text_that_is_not_utf8_costs_its_record_only_where_the_prompt_needs_it(tmp_path: Path) -> None:
    column = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"prompt": column, "id": column}), tmp_path / "a.parquet")
    rows = values(read(tmp_path / "a.parquet"))
    assert [canonical(row, Reading()) for row in rows][1] == "prompt is not UTF-8"
    named = Reading.parse(["prompt=other"])
    assert isinstance(canonical({"other": "x", "note": rows[1]["prompt"]}, named), Prompt)


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "__index_level_0__": [7]}), tmp_path / "a.parquet")
    assert values(read(tmp_path / "a.parquet")) == [{"prompt": "a"}]


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="same name: prompt"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.arrow", "a.feather"])
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_both_arrow_formats_are_read_in_order(tmp_path: Path, name: str, new: Any) -> None:
    table = pa.table({"prompt": [f"number {n}" for n in range(1000)]})
    with new(str(tmp_path / name), table.schema) as writer:
        writer.write_table(table, max_chunksize=600)
    records = read(tmp_path / name)
    assert [record.line for record in records] == list(range(1, 1001))
    assert values(records)[-1] == {"prompt": "number 999"}
