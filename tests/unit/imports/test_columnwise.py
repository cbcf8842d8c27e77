"""A JSON file that holds a table column by column."""

import json
from pathlib import Path
from typing import Any

import pytest

from persyn.errors import InputError
from tests.unit.imports.sources import read, values, write

TURNS = [{"role": "user", "content": "a"}]
ROWS = [{"prompt": "a", "id": 1}, {"prompt": "b", "id": 2}]


@pytest.mark.parametrize(
    ("whole", "rows"),
    [
        ({"prompt": ["a", "b"], "id": [1, 2]}, ROWS),
        ({"prompt": ["a", "b"]}, [{"prompt": "a"}, {"prompt": "b"}]),
        ({"question": ["a", None], "answer": ["x #### 1", "y"]},
         [{"question": "a", "answer": "x #### 1"}, {"question": None, "answer": "y"}]),
        ({"messages": [TURNS, TURNS], "id": ["x", "y"]},
         [{"messages": TURNS, "id": "x"}, {"messages": TURNS, "id": "y"}]),
        ({"prompt": {"0": "a", "1": "b"}, "id": {"0": 1, "1": 2}}, ROWS),  # pandas' to_json()
        ({"columns": ["prompt", "id"], "index": [0, 1], "data": [["a", 1], ["b", 2]]}, ROWS),  # orient="split"
        # what is no table stays what it was
        ({"messages": TURNS}, [{"messages": TURNS}]),
        ({"prompt": TURNS, "chosen": TURNS}, [{"prompt": TURNS, "chosen": TURNS}]),
        ({"prompt": "a", "tags": ["x"]}, [{"prompt": "a", "tags": ["x"]}]),
        ({"data": ROWS}, ROWS),
        ({"version": 1, "data": ROWS}, ROWS),
        ({"data": ["a", "b"]}, ["a", "b"]),
        ({"id": "7", "data": ["a", "b"]}, [{"id": "7", "data": ["a", "b"]}]),  # UltraChat's one record
        ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]},
         [{"contents": [{"role": "user", "parts": [{"text": "a"}]}]}]),
        ({}, [{}]),
    ],
)  # fmt: skip
def test_a_table_column_by_column_is_its_rows(tmp_path: Path, whole: Any, rows: list[Any]) -> None:
    assert values(read(write(tmp_path / "a.json", json.dumps(whole)))) == rows


def test_columns_of_different_lengths_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps({"prompt": ["a", "b", "c"], "id": [1, 2]}))
    with pytest.raises(InputError, match=r"has columns of different lengths: prompt 3, id 2\.$"):
        read(path)
