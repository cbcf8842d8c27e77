from typing import Any

import pytest

from persyn.config import differences


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"a": 2, "b": 2}, ["a"]),
        ({"a": {"b": [{"c": 1}, {"c": 2}]}}, {"a": {"b": [{"c": 1}, {"c": 3}]}}, ["a.b[1].c"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": 1}, {"a": 1, "b": None}, []),  # a key that a later version knows, with its default
        ({"a": 1}, {"b": 1}, ["a", "b"]),
    ],
)
def test_what_differs_is_named_by_its_path(before: Any, after: Any, paths: list[str]) -> None:
    assert differences(before, after) == paths
