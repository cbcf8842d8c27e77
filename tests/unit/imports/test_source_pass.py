"""`imports.source_pass`: every record is checked once, and becomes items or rejects."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.errors import ConfigError, InputError
from persyn.imports.rejects import RejectsFile
from persyn.imports.source_pass import ImportProgress, SourcePass, check_places, publish_rejects


def check(values: Any, limit: int | None) -> Iterator[int | str]:
    """Each of the record's numbers; an odd one is refused."""
    yield from (number if number % 2 == 0 else f"{number} is odd" for number in values)


def write(path: Path, records: list[Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def reading(sources: list[str], refused: RejectsFile, seen: list[ImportProgress] | None = None) -> SourcePass[int]:
    progress = [] if seen is None else seen
    return SourcePass(sources, "jsonl", 1000, check, refused, progress.append)


@given(files=st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4), min_size=1, max_size=3))
def test_items_and_rejects_are_all_that_the_records_hold(
    files: list[list[list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sources")
    sources = [write(folder / f"{number}.jsonl", records) for number, records in enumerate(files)]
    with RejectsFile(folder / "rejects.jsonl") as refused:
        whole = reading(sources, refused)
        items = [tuple(item) for item in whole.items()]
    numbers = [
        (source, line, number)
        for source, records in enumerate(files)
        for line, record in enumerate(records, start=1)
        for number in record
    ]
    assert items == [row for row in numbers if row[2] % 2 == 0]
    assert refused.count == len(numbers) - len(items)
    assert whole.read == sum(map(len, files))


def test_a_broken_line_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[2]\n{\n[4]\n")
    with RejectsFile(tmp_path / "rejects.jsonl") as refused:
        assert [item.value for item in reading([str(tmp_path / "a.jsonl")], refused).items()] == [2, 4]
        published = refused.publish()
    assert published is not None
    assert json.loads(published.read_text())["line"] == 2


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    seen: list[ImportProgress] = []
    with RejectsFile(tmp_path / "rejects.jsonl") as refused:
        list(reading([write(tmp_path / "a.jsonl", [[0]] * 2500)], refused, seen).items())
    assert [progress.read for progress in seen] == [1000, 2000, 2500]
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares, key=lambda share: share or 0.0)
    assert shares[-1] == 1.0


def test_publish_rejects_is_strict_only_where_something_was_refused(tmp_path: Path) -> None:
    with RejectsFile(tmp_path / "rejects.jsonl") as refused:
        assert publish_rejects(refused, strict=True, what="records") is None
        list(reading([write(tmp_path / "a.jsonl", [[1]])], refused).items())
        with pytest.raises(InputError, match="1 records were refused, so nothing was imported"):
            publish_rejects(refused, strict=True, what="records")


def test_check_places_refuses_to_write_over_a_source(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [])
    check_places([source, "-"], tmp_path / "b.jsonl")
    with pytest.raises(ConfigError, match="Choose another"):
        check_places([source], tmp_path / "a.jsonl")
    with pytest.raises(ConfigError, match="twice"):
        check_places(["-", "-"], tmp_path / "b.jsonl")
