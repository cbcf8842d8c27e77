"""A trained router on disk: its weights as safetensors, never pickle, and `router.json`, which describes them.

One hash stands for both files: router.json holds the weights' sha256, and the artifact's sha256 is router.json's.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.errors import ModelError
from persyn.files import replacing

DESCRIPTION = "router.json"
WEIGHTS = "weights.safetensors"
REMEDY = "`persyn router train RUN --again` makes it anew."

Tensors = Mapping[str, NDArray[np.float32]]


class Artifact(NamedTuple):
    tensors: dict[str, NDArray[np.float32]]
    description: dict[str, Any]


def write(folder: Path, tensors: Tensors, description: Mapping[str, Any]) -> str:
    """Write both files and return the artifact's sha256.

    Each file appears whole or not at all, and the description appears last: a reader between the two sees a wrong hash
    and never uses wrong weights.
    """

    from safetensors.numpy import save  # noqa: PLC0415 - not everywhere where routers are only talked about

    weights = save(dict(tensors))
    record = {**description, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    text = json.dumps(record, indent=2, sort_keys=True).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((WEIGHTS, weights), (DESCRIPTION, text)):
        with replacing(folder / name) as file:
            file.write(content)
    return hashlib.sha256(text).hexdigest()


def is_whole(folder: Path, expected_sha256: str) -> bool:
    """Whether both files are there, and are those that were written; they are not loaded for this."""
    try:
        text = (folder / DESCRIPTION).read_bytes()
        with (folder / WEIGHTS).open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return hashlib.sha256(text).hexdigest() == expected_sha256 and json.loads(text)["weights_sha256"] == weights


def read(folder: Path, expected_sha256: str) -> Artifact:
    """Read an artifact back. Raises ModelError if a file is missing or is not the one that was written."""
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        text = (folder / DESCRIPTION).read_bytes()
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as exc:
        raise ModelError(f"The router in {folder} cannot be read: {exc}. {REMEDY}") from exc
    if hashlib.sha256(text).hexdigest() != expected_sha256:
        raise ModelError(f"{folder / DESCRIPTION} is not the file that was recorded (sha256). {REMEDY}")
    description = json.loads(text)
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise ModelError(f"{folder / WEIGHTS} is not the file that was recorded (sha256). {REMEDY}")
    return Artifact(load(weights), description)
