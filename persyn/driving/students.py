"""A trained student as a folder of the user's."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from persyn.errors import ConfigError, PersynError
from persyn.stages import model_paths, train_student
from persyn.students import trained

if TYPE_CHECKING:
    from sqlalchemy import Engine


def save(engine: "Engine", model_id: int, home: Path, folder: Path, *, adapter: bool = False) -> None:
    """Write the student's files into the folder, which appears whole or not at all.

    A LoRA student is merged into its base, unless `adapter`. Raises NotFound; ConfigError where the folder exists or
    this host cannot get the files; ModelError where they or the base cannot be read; PersynError where the folder
    cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: it exists. Choose another folder, or move this one away.")
    with engine.connect() as conn:
        stored = train_student.find(conn, model_id)
    source = model_paths.whole(engine, stored, home)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
            whole = Path(unfinished) / "whole"
            if adapter or not (source / trained.ADAPTER).exists():
                shutil.copytree(source, whole)
            else:
                model_paths.merge(source, home, whole)
            whole.rename(folder)
    except OSError as exc:
        raise PersynError(
            f"{folder}: the student cannot be written: {exc.strerror or exc}. Make room, or choose another folder."
        ) from exc
