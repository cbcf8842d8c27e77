"""CSV with any delimiter: a bad row costs itself alone."""

from pathlib import Path

import pytest

from persyn.errors import InputError
from tests.unit.imports.sources import read, reasons, values, write


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


@pytest.mark.parametrize("data", ["", "\n1,2\n", "id,id\n", "id,\n1,2\n", b"id,\xff\n1,2\n"])
def test_csv_without_a_usable_header_is_an_error(tmp_path: Path, data: bytes | str) -> None:
    with pytest.raises(InputError, match="header"):
        read(write(tmp_path / "a.csv", data))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "prompt", "note"], ["1", "a, b; c | d", "x"]]
    cells = [[f'"{cell}"' if len(cell) > 6 else cell for cell in row] for row in rows]
    data = "\ufeff" + "\n".join(delimiter.join(row) for row in cells)
    assert values(read(write(tmp_path / "a.csv", data))) == [dict(zip(*rows, strict=True))]


def test_a_file_of_one_column_has_no_delimiter(tmp_path: Path) -> None:
    assert values(read(write(tmp_path / "a.csv", "prompt\nwhat is 1; 2?\n"))) == [{"prompt": "what is 1; 2?"}]


def test_the_nameless_first_column_of_pandas_is_left_out(tmp_path: Path) -> None:
    assert values(read(write(tmp_path / "a.csv", ",prompt\n0,hello\n"))) == [{"prompt": "hello"}]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "\ufeffsep=;", "sep=;\r"])
def test_the_line_by_which_excel_names_the_delimiter_is_no_header(tmp_path: Path, first: str) -> None:
    records = read(write(tmp_path / "a.csv", f"{first}\nid;prompt\n1;one, two, three\n"))
    assert values(records) == [{"id": "1", "prompt": "one, two, three"}]
    assert [record.line for record in records] == [3]
