"""A trained student as a folder that transformers and vLLM load, and `student.json`, which lists and describes it.

One hash stands for all files: student.json holds each file's sha256, and the artifact's sha256 is student.json's.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persyn.files import replacing

DESCRIPTION = "student.json"
ADAPTER = "adapter_config.json"  # there where the weights are LoRA's alone


def seal(folder: Path, about: Mapping[str, Any]) -> str:
    """Describe a folder whose files are all there; returns the artifact's sha256."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: _sha256(folder / name) for name in names if name != DESCRIPTION}
    text = json.dumps({**about, "files": files}, indent=2, sort_keys=True).encode()
    with replacing(folder / DESCRIPTION) as file:
        file.write(text)
    return hashlib.sha256(text).hexdigest()


def files(content: bytes) -> list[str]:
    """The names of the files that a description lists, itself left out."""
    return list(json.loads(content)["files"])


def description(folder: Path) -> dict[str, Any]:
    """The student's base and method, and where it comes from, as student.json has them."""
    return dict(json.loads((folder / DESCRIPTION).read_bytes()))


def is_whole(folder: Path, expected_sha256: str) -> bool:
    """Whether all files are there, and are those that were written."""
    try:
        text = (folder / DESCRIPTION).read_bytes()
        if hashlib.sha256(text).hexdigest() != expected_sha256:
            return False
        return all(_sha256(folder / name) == sha256 for name, sha256 in json.loads(text)["files"].items())
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
