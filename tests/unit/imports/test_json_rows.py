"""JSONL, JSON and text: a bad line costs itself alone, and rows are found where they lie."""

from pathlib import Path
from typing import Any

import pytest

from persyn.errors import InputError
from persyn.imports.records import Record
from tests.unit.imports.sources import read, reasons, values, write


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": ', "broken JSON"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "prompt": "b"}', "the key 'prompt' stands twice"),
        (b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "the key 'content' stands twice"),
        (b'{"n": 1' + b"0" * 4999 + b"}", "broken JSON: a number has 5,000 digits at column 7, and 4,300 is the most"),
        (b'{"[[": "[\\"[", "m": ' + b"[" * 5000, "brackets nest 5,001 levels deep at column 5020, which is too deep"),
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


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        ('[\n{"prompt": "a",\n "n": ' + "9" * 5000 + "}]", "a number has 5,000 digits at line 3, column 7, and 4,300"),
        (
            '[{"prompt": "a", "m": ' + "[" * 100_000 + "]" * 100_000 + "}]",
            "brackets nest 100,002 levels deep at column",
        ),
    ],
)
def test_a_json_file_beyond_what_is_read_is_told_in_plain_words(tmp_path: Path, whole: str, words: str) -> None:
    with pytest.raises(InputError) as told:
        read(write(tmp_path / "a.json", whole))
    assert words in str(told.value)


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


@pytest.mark.parametrize("data", ["[", b'[{"a": 1},\n{"a": 2},\n"\xff"]', "", '[{"a": 1, "a": 2}]'])
def test_json_that_is_none_is_an_error_that_names_jsonl(tmp_path: Path, data: bytes | str) -> None:
    with pytest.raises(InputError, match="--format jsonl"):
        read(write(tmp_path / "a.json", data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"prompt": "a"}', [{"prompt": "a"}]),
        ('{"prompt": "a"}\n{"prompt": "b"}\n', [{"prompt": "a"}, {"prompt": "b"}]),
        ('{\n  "prompt": "a"\n}\n{\n  "prompt": "b"\n}\n', [{"prompt": "a"}, {"prompt": "b"}]),  # as jq writes them
        ('{"train": [{"prompt": "a"}, {"prompt": "b"}]}', [{"prompt": "a"}, {"prompt": "b"}]),
        ('{"version": 1, "tags": ["x"], "rows": [{"q": "a"}]}', [{"q": "a"}]),
        ('{"prompts": ["a", "b"]}', ["a", "b"]),
        # the lists of a record are no rows
        ('{"messages": [{"role": "user", "content": "a"}]}', [{"messages": [{"role": "user", "content": "a"}]}]),
        ('{"question": "a", "tags": ["x"]}', [{"question": "a", "tags": ["x"]}]),
    ],
)
def test_a_json_files_rows_are_found_where_they_lie(tmp_path: Path, data: str, expected: list[Any]) -> None:
    assert values(read(write(tmp_path / "a.json", data))) == expected


def test_several_lists_in_one_object_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train, test.*jq"):
        read(write(tmp_path / "a.json", '{"train": [{"prompt": "a"}], "test": [{"prompt": "b"}]}'))


def test_not_a_number_is_a_hole(tmp_path: Path) -> None:
    assert values(read(write(tmp_path / "a.jsonl", '{"prompt": "a", "score": NaN}'))) == [
        {"prompt": "a", "score": None}
    ]


def test_a_text_file_gives_its_lines(tmp_path: Path) -> None:
    records = read(write(tmp_path / "a.txt", b"one\r\n\n \xe2\x80\xa8two\nbad \xff\n"), "text")
    assert values(records) == ["one", " \u2028two"]
    assert reasons(records) == [(4, "not UTF-8")]
