"""A trained student as a folder of the user's."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from persyn.errors import ConfigError, ModelError, PersynError
from persyn.inference import models
from persyn.stages import train_student
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
    source = train_student.folder(engine, stored, home)
    if not trained.is_whole(source, stored.sha256):
        raise ModelError(
            f"{source} does not hold the files of student {model_id} as they were stored (sha256)."
            " `persyn student train RUN --again` makes them anew."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
            whole = Path(unfinished) / "whole"
            if adapter or not (source / trained.ADAPTER).exists():
                shutil.copytree(source, whole)
            else:
                _merge(source, home, whole)
            whole.rename(folder)
    except OSError as exc:
        raise PersynError(
            f"{folder}: the student cannot be written: {exc.strerror or exc}. Make room, or choose another folder."
        ) from exc


def _merge(source: Path, home: Path, target: Path) -> None:
    from persyn.students import train  # noqa: PLC0415 - it loads torch, TRL and PEFT

    told = trained.description(source)
    base = models.model_path(told["model"], told["revision"], home)
    train.merge(source, base, told["revision"], target)
