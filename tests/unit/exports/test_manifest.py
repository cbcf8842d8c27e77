"""The sentence about an export."""

from typing import Any

import pytest

from persyn.exports.manifest import Manifest

WHOLE: dict[str, Any] = {
    "run": "r", "run_id": 1, "student": "s", "policy": "persyn", "config_sha256": "0" * 64, "router": None,
    "run_code_version": "0", "export_code_version": "0", "layout": "messages", "reasoning": "drop", "keep": [],
    "columns": [], "prompts": 2000, "rows": 2000, "rows_by_split": {"train": 2000}, "rows_by_teacher": {"a": 2000},
    "unchecked": 0, "flawed": {}, "left_out": {}, "benchmarks": {}, "missing": {}, "longest_row": 9,
    "files": [], "documents": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "2,000 of 2,000 rows"),
        (
            {"rows": 1975, "left_out": {"cut": 1, "wrong": 17}, "missing": {"timeout": 7}},
            "1,975 of 2,000 rows (left out: 1 cut, 17 wrong; missing: 7 timeout)",
        ),
        ({"flawed": {"wrong": 3}, "unchecked": 1200}, "2,000 of 2,000 rows (kept: 3 wrong; unchecked: 1,200)"),
    ],
)
def test_it_says_how_many_rows_there_are_and_where_the_others_are(changes: dict[str, Any], sentence: str) -> None:
    assert Manifest.model_validate(WHOLE | changes).outcome() == sentence
