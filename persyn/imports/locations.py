"""The files that a user means by a path, a folder, a pattern in quotes, or a data set that was saved to disk."""

import glob
import json
import os
import re
from pathlib import Path

from persyn.errors import InputError, NotFound
from persyn.imports.hub import PREFIX
from persyn.imports.reader import STDIN, SUFFIXES, Format, suffix_of

REJECTS = ".rejects"  # the suffix of the file of refused records
SHARD = re.compile(r"(.+?)-\d+-of-\d+\b.*")
BESIDE = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "manifest.json")


def expanded(named: list[str], format: Format | None = None) -> list[str]:
    """Every file behind the user's words, in order. Raises NotFound and InputError."""
    return [file for location in named for file in _files(location, format)]


def _files(location: str, format: Format | None) -> list[str]:
    if location == STDIN or location.startswith(PREFIX):
        return [location]
    path = Path(location)
    if path.is_dir():
        return [str(file) for file in _in_folder(path, format)]
    if not path.exists() and glob.has_magic(location):
        return _matching(location, format)
    return [location]


def _matching(pattern: str, format: Format | None) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True))
    files = [name for name in found if os.path.isfile(name) and not name.endswith(REJECTS)]
    folders = [name for name in found if os.path.isdir(name)]
    if not files and not folders:
        raise NotFound(f"{pattern}: no file matches this pattern.")
    return files or [file for folder in folders for file in _files(folder, format)]


def _in_folder(folder: Path, format: Format | None) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if (path / "state.json").is_file())
        if len(splits) != 1:
            raise _several(folder, splits, str(folder / (splits[0] if splits else "SPLIT")))
        return _in_folder(folder / splits[0], format)
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = [path for path in sorted(folder.rglob("*")) if _is_data(path, folder, format)]
    if not files:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10])
        raise InputError(
            f"{folder}: holds no file of a known format ({' '.join(SUFFIXES)}); it holds {names or 'nothing'}."
        )
    splits = sorted({found[1] for path in files if (found := SHARD.fullmatch(path.name))})
    if len(splits) > 1:
        raise _several(folder, splits, f"'{files[0].parent}/{splits[0]}-*'")
    return files


def _is_data(path: Path, folder: Path, format: Format | None) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    if hidden or not path.is_file() or path.name in BESIDE or path.suffix == REJECTS:
        return False
    return format is not None or suffix_of(path.name) in SUFFIXES


def _saved(folder: Path) -> list[Path]:
    """The shards of a data set that `datasets` saved to disk. Raises InputError."""
    try:
        entries = json.loads((folder / "state.json").read_text("utf-8"))["_data_files"]
        return [folder / Path(entry["filename"]).name for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder}: its state.json does not list the data, as `save_to_disk` writes it. Name a file."
        ) from None


def _several(folder: Path, splits: list[str], example: str) -> InputError:
    return InputError(f"{folder}: holds the splits {', '.join(splits) or '(none)'}. Name one, such as {example}.")
