"""Records from every format: a bad record costs itself alone, and a bad file is one clear error."""

import gzip
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persyn.errors import ConfigError, InputError, NotFound
from persyn.imports.reader import FORMATS, Record, Rejected, excerpt, known_format, open_source


def read(path: Path | str, format: Any = None, max_bytes: int = 1000) -> list[Record | Rejected]:
    with open_source(str(path), format) as source:
        return list(source.records(max_bytes))


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def values(records: list[Record | Rejected]) -> list[Any]:
    return [record.values for record in records if isinstance(record, Record)]


def reasons(records: list[Record | Rejected]) -> list[tuple[int, str]]:
    return [(record.line, record.reason) for record in records if isinstance(record, Rejected)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": ', "broken JSON"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "meta": NaN}', "NaN"),
        (b'{"n": 1' + b"0" * 5000 + b"}", "broken JSON"),  # more digits than Python converts
        (b"[" * 5000, "broken JSON"),  # deeper than the parser goes
        (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', "longer than 9000 bytes"),
    ],
)
def test_a_bad_line_costs_itself_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", b'{"prompt": "first"}\n' + line + b'\n{"prompt": "last"}\n')
    records = read(path, max_bytes=9000)
    assert values(records) == [{"prompt": "first"}, {"prompt": "last"}]
    [(number, why)] = reasons(records)
    assert number == 2
    assert reason in why


def test_blank_lines_and_windows_line_ends_are_no_records(tmp_path: Path) -> None:
    records = read(write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}'))
    assert values(records) == [{"a": 1}, {"a": 2}]
    assert [record.line for record in records] == [1, 4]


def test_a_json_array_gives_its_elements(tmp_path: Path) -> None:
    records = read(write(tmp_path / "a.json", '[{"prompt": "a"}, 7]'))
    assert [(record.line, record.values) for record in records if isinstance(record, Record)] == [
        (1, {"prompt": "a"}),
        (2, 7),
    ]


@pytest.mark.parametrize("data", ['{"prompt": "a"}', '{"prompt": "a"}\n{"prompt": "b"}', "[", b"\xff", ""])
def test_json_that_is_no_array_is_an_error_that_names_jsonl(tmp_path: Path, data: bytes | str) -> None:
    with pytest.raises(InputError, match="--format jsonl"):
        read(write(tmp_path / "a.json", data))


def test_csv_cells_may_hold_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    data = 'id,prompt\n1,"two\nlines, and ""quotes"""\n\n2,plain\n3,\n'
    records = read(write(tmp_path / "a.csv", data))
    assert values(records) == [
        {"id": "1", "prompt": 'two\nlines, and "quotes"'},
        {"id": "2", "prompt": "plain"},
        {"id": "3"},  # an empty cell is no value
    ]
    assert [record.line for record in records] == [2, 5, 6]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "has 1 columns where the header has 2"),
        (b"1,2,3", "has 3 columns"),
        (b"1,\xff", "not UTF-8"),
        (b'1,"\xff"', "not UTF-8"),
        (b'1,"a"b', "broken CSV"),
        (b"1," + b"x" * 3000, "longer than 1000 bytes"),
    ],
)
def test_a_bad_csv_row_costs_itself_alone(tmp_path: Path, row: bytes, reason: str) -> None:
    records = read(write(tmp_path / "a.csv", b"id,prompt\n0,first\n" + row + b"\n2,last\n"))
    assert [value["prompt"] for value in values(records)] == ["first", "last"]
    [(number, why)] = reasons(records)
    assert number == 3
    assert reason in why


def test_an_unclosed_quote_in_csv_swallows_no_more_than_the_limit(tmp_path: Path) -> None:
    rows = "".join(f"{number},prompt number {number}\n" for number in range(1000))
    records = read(write(tmp_path / "a.csv", 'id,prompt\n0,"never closed\n' + rows))
    assert reasons(records)[0][0] == 2
    assert len(values(records)) > 900


@pytest.mark.parametrize("data", ["", "\n1,2\n", "id,id\n", "id,\n1,2\n", b"id,\xff\n"])
def test_csv_without_a_usable_header_is_an_error(tmp_path: Path, data: bytes | str) -> None:
    with pytest.raises(InputError, match="header"):
        read(write(tmp_path / "a.csv", data))


def test_parquet_rows_come_as_objects_in_order(tmp_path: Path) -> None:
    rows = [{"prompt": f"number {n}", "turns": [{"role": "user", "content": "x"}]} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=300)
    records = read(tmp_path / "a.parquet")
    assert values(records) == rows
    assert [record.line for record in records] == list(range(1, 1001))


def test_a_parquet_row_that_is_not_utf8_costs_itself_alone(tmp_path: Path) -> None:
    column = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet")
    assert values(records) == [{"prompt": "good"}, {"prompt": "fine"}]
    assert reasons(records) == [(2, "not UTF-8")]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.ndjson.gz", "A.JSONL.GZ"])
def test_gzipped_files_are_read(tmp_path: Path, name: str) -> None:
    assert values(read(write(tmp_path / name, gzip.compress(b'{"a": 1}\n')))) == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000)[:-12]),
        ("plain.jsonl.gz", b'{"a": 1}\n'),
        ("damaged.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage"),
        ("text.parquet", b"not parquet at all"),
        ("empty.parquet", b""),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError, match=rf"{name}: cannot be read to its end"):
        read(write(tmp_path / name, data))


def test_standard_input_is_jsonl_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n')))
    assert values(read("-")) == [{"a": 1}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n1\n")))
    assert values(read("-", "csv")) == [{"a": "1"}]


def test_parquet_from_standard_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="Parquet"):
        read("-", "parquet")


def test_an_unknown_suffix_asks_for_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", '{"a": 1}')
    with pytest.raises(ConfigError, match="--format"):
        read(path)
    assert values(read(path, "jsonl")) == [{"a": 1}]


def test_a_format_is_one_that_the_reader_knows() -> None:
    assert [known_format(name) for name in FORMATS] == ["jsonl", "json", "csv", "parquet"]
    with pytest.raises(ConfigError, match="--format xml: expected jsonl"):
        known_format("xml")


def test_a_missing_file_and_a_folder_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.jsonl"):
        read(tmp_path / "gone.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=r"folder\.jsonl"):
        read(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_the_share_read_grows_to_one(tmp_path: Path, name: str) -> None:
    data = b"".join(b'{"a": "%s"}\n' % hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(10_000))
    path = write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    with open_source(str(path)) as source:
        shares = [source.share() for _ in source.records()]
    assert shares == sorted(share for share in shares if share is not None)
    assert shares[0] is not None
    assert shares[0] < 1.0
    assert shares[-1] == 1.0


def test_the_share_of_a_parquet_file_counts_its_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["x"] * 1024}), tmp_path / "a.parquet")
    with open_source(str(tmp_path / "a.parquet")) as source:
        shares = [source.share() for _ in source.records()]
    assert shares[-1] == pytest.approx(0.75)  # the last batch of four is counted when it has been handed on


def test_an_excerpt_is_short_and_can_be_stored_whatever_the_bytes() -> None:
    assert excerpt(b"a\xff\x00b\r\n") == "a\\xff\x00b"
    assert len(excerpt(b"x" * 10_000)) == 200
    assert json.dumps(excerpt({"a": "\ud800"}))
