"""The rejects file appears whole or not at all."""

import json
from pathlib import Path

import pytest

from persyn.errors import InputError
from persyn.imports.records import Rejected
from persyn.imports.rejects import RejectsFile, default_path


def test_it_lies_next_to_the_first_source_or_here_for_standard_input() -> None:
    assert default_path("math", ["data/a.jsonl", "b.csv"]) == Path("data/a.jsonl.rejects")
    assert default_path("math", ["data/shards/"]) == Path("data/shards.rejects")
    assert default_path("math", ["-"]) == default_path("math", ["hf://owner/name"]) == Path("math.rejects")


def test_each_line_says_where_why_and_what(tmp_path: Path) -> None:
    with RejectsFile(tmp_path / "r.jsonl") as rejects:
        rejects.add("a.jsonl", Rejected(3, "not UTF-8", "bad\ud800"))
        assert rejects.publish() == tmp_path / "r.jsonl"
    entry = json.loads((tmp_path / "r.jsonl").read_text())
    assert entry == {"file": "a.jsonl", "line": 3, "reason": "not UTF-8", "raw": "bad\ud800"}


def test_nothing_refused_writes_no_file(tmp_path: Path) -> None:
    with RejectsFile(tmp_path / "r.jsonl") as rejects:
        assert rejects.publish() is None
    assert list(tmp_path.iterdir()) == []


def test_once_nothing_is_refused_the_file_of_an_earlier_import_goes(tmp_path: Path) -> None:
    with RejectsFile(tmp_path / "r.jsonl") as rejects:
        rejects.add("a.jsonl", Rejected(3, "not UTF-8", ""))
        rejects.publish()
    with RejectsFile(tmp_path / "r.jsonl") as rejects:
        assert rejects.publish() is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_stays(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"prompt": "a"}\n')
    with RejectsFile(tmp_path / "r.jsonl") as rejects:
        assert rejects.publish() is None
    assert (tmp_path / "r.jsonl").exists()


def test_an_import_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with RejectsFile(tmp_path / "r.jsonl") as rejects:
            rejects.add("a.jsonl", Rejected(3, "not UTF-8", ""))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_asks_for_another(tmp_path: Path) -> None:
    with RejectsFile(tmp_path / "nowhere" / "r.jsonl") as rejects, pytest.raises(InputError, match="--rejects"):
        rejects.add("a.jsonl", Rejected(3, "not UTF-8", ""))
