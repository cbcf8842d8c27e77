"""Records from every format: a bad record costs itself alone, and a bad file is one clear error."""

import bz2
import gzip
import hashlib
import io
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persyn.errors import ConfigError, InputError, NotFound
from persyn.imports.reader import FORMATS, known_format, open_source
from tests.unit.imports.sources import read, values, write


def zstd(data: bytes) -> bytes:
    packed = pa.compress(data, codec="zstd", asbytes=True)
    assert isinstance(packed, bytes)
    return packed


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.ndjson.gz", gzip.compress),
        ("A.JSONL.GZ", gzip.compress),
        ("a.jsonl.xz", lzma.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.jsonl.zst", zstd),
    ],
)
def test_packed_files_are_read_whole(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    data = b"".join(b'{"a": %d}\n' % n for n in range(20_000))
    assert len(values(read(write(tmp_path / name, pack(data))))) == 20_000
    twice = pack(b'{"a": 1}\n') + pack(b'{"a": 2}\n')  # as `cat` puts two files together
    assert values(read(write(tmp_path / name, twice))) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-12]),
        ("plain.jsonl.gz", b'{"a": 1}\n'),
        ("damaged.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage"),
        ("cut.jsonl.xz", lzma.compress(b'{"a": 1}\n' * 1000)[:-12]),
        ("cut.jsonl.bz2", bz2.compress(b'{"a": 1}\n' * 1000)[:-12]),
        ("cut.jsonl.zst", zstd(b"".join(b'{"a": %d}\n' % n for n in range(1000)))[:-12]),
        ("text.arrow", b"not arrow at all"),
        ("text.parquet", b"not parquet at all"),
        ("empty.parquet", b""),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError, match=rf"{name}: cannot be read to its end .*[^.]\.$"):
        read(write(tmp_path / name, data))


def test_standard_input_is_jsonl_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n')))
    assert values(read("-")) == [{"a": 1}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n1\n")))
    assert values(read("-", "csv")) == [{"a": "1"}]


def test_parquet_from_standard_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="Parquet"):
        read("-", "parquet")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.jsonl.zst"])
def test_a_pointer_is_told_whatever_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="git lfs pull"):
        read(write(tmp_path / name, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"))


def test_a_jsonl_file_that_holds_one_array_is_read_as_json(tmp_path: Path) -> None:
    assert values(read(write(tmp_path / "a.jsonl", '[{"a": 1},\n {"a": 2}]'))) == [{"a": 1}, {"a": 2}]
    assert values(read(write(tmp_path / "c.jsonl", '{\n  "a": 1\n}\n{\n  "a": 2\n}\n'))) == [{"a": 1}, {"a": 2}], "jq"
    assert values(read(write(tmp_path / "b.jsonl", "[1]\n[2]\n"), "jsonl")) == [[1], [2]], "told, it is JSONL"


def test_an_unknown_suffix_asks_for_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", '{"a": 1}')
    with pytest.raises(ConfigError, match="--format"):
        read(path)
    assert values(read(path, "jsonl")) == [{"a": 1}]
    assert values(read(path, "text")) == ['{"a": 1}']


@pytest.mark.parametrize(("name", "way_out"), [("a.zip", "Unpack it"), ("a.tgz", "Unpack it"), ("a.XLSX", "as CSV")])
def test_an_archive_and_a_spreadsheet_are_told_with_the_way_out(tmp_path: Path, name: str, way_out: str) -> None:
    with pytest.raises(ConfigError, match=way_out):
        read(write(tmp_path / name, b"PK"))


def test_a_format_is_one_that_the_reader_knows() -> None:
    assert [known_format(name) for name in FORMATS] == list(FORMATS)
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
