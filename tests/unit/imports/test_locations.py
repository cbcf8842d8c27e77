"""The files behind a folder, a pattern, and a data set that was saved to disk."""

import json
from pathlib import Path

import pytest

from persyn.errors import InputError, NotFound
from persyn.imports.locations import expanded


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    return path


def names(path: Path, *found: str) -> list[str]:
    return [str(path / name) for name in found]


def test_files_hub_names_and_standard_input_stay_as_they_are() -> None:
    assert expanded(["a.jsonl", "-", "hf://a/b", "gone[1].jsonl"[:4]]) == ["a.jsonl", "-", "hf://a/b", "gone"]


def test_a_folder_gives_its_data_in_order_and_nothing_else(tmp_path: Path) -> None:
    path = folder(
        tmp_path, "train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "README.md", ".hidden.jsonl",
        "dataset_info.json", "a.jsonl.rejects",
    )  # fmt: skip
    assert expanded([str(path)]) == names(path, "train-00000-of-00002.parquet", "train-00001-of-00002.parquet")


def test_data_in_a_folders_folders_is_found(tmp_path: Path) -> None:
    assert expanded([str(folder(tmp_path, "data/a.jsonl.gz"))]) == names(tmp_path, "data/a.jsonl.gz")


def test_a_format_that_is_told_takes_every_file(tmp_path: Path) -> None:
    assert expanded([str(folder(tmp_path, "a.txt", "b.txt"))], "text") == names(tmp_path, "a.txt", "b.txt")


def test_several_splits_are_never_mixed(tmp_path: Path) -> None:
    folder(tmp_path, "train-00000-of-00001.parquet", "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"splits test, train"):
        expanded([str(tmp_path)])


def test_a_folder_without_data_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it holds README\.md"):
        expanded([str(folder(tmp_path, "README.md"))])


def test_a_pattern_gives_its_files_but_no_rejects(tmp_path: Path) -> None:
    folder(tmp_path, "b.jsonl", "a.jsonl", "a.jsonl.rejects", "c.csv")
    assert expanded([str(tmp_path / "*.jsonl*")]) == names(tmp_path, "a.jsonl", "b.jsonl")
    with pytest.raises(NotFound, match="no file matches"):
        expanded([str(tmp_path / "*.parquet")])


def test_a_name_with_brackets_is_a_file_where_it_exists(tmp_path: Path) -> None:
    folder(tmp_path, "a[1].jsonl")
    assert expanded([str(tmp_path / "a[1].jsonl")]) == names(tmp_path, "a[1].jsonl")


def test_a_saved_data_set_is_its_shards_in_order(tmp_path: Path) -> None:
    folder(tmp_path, "data-00000-of-00001.arrow", "cache-1.arrow", "dataset_info.json")
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    assert expanded([str(tmp_path)]) == names(tmp_path, "data-00000-of-00001.arrow")


def test_a_saved_dictionary_of_splits_asks_for_one(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder(tmp_path, f"{split}/d.arrow")
        (tmp_path / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "d.arrow"}]}))
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(InputError, match="splits test, train"):
        expanded([str(tmp_path)])
    assert expanded([str(tmp_path / "train")]) == names(tmp_path, "train/d.arrow")


@pytest.mark.parametrize("state", ["{", "[]", "{}"])
def test_a_damaged_state_is_one_sentence(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(InputError, match="save_to_disk"):
        expanded([str(tmp_path)])
