"""The files of a model on this host: a folder, a name on the hub, or `student:ID`, one that was trained here.

A trained student is fetched as a router is. LoRA's matrices are added to their base once, and the whole lies beside
them in the cache.
"""

import logging
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock
from sqlalchemy import Engine

from persyn.config.examination import STUDENT
from persyn.errors import ConfigError, ModelError
from persyn.inference import models
from persyn.stages import artifacts, train_student
from persyn.students import trained

log = logging.getLogger(__name__)


def path_of(engine: Engine, home: Path, ref: str, revision: str | None) -> str:
    """The folder or the hub name that `from_pretrained` and vLLM accept. A student's revision is its files' sha256.

    Raises what `models.model_path` raises; NotFound where a student was deleted, ModelError where it is another now.
    """
    if not ref.startswith(STUDENT):
        return models.model_path(ref, revision, home)
    number = ref.removeprefix(STUDENT)
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ConfigError(
            f"{ref}: expected {STUDENT} and the number of a trained student, as in `persyn student list`."
        )
    with engine.connect() as conn:
        stored = train_student.find(conn, int(number))
    if revision is not None and revision != stored.sha256:
        raise ModelError(
            f"{ref}: it was trained again, and its files are no longer those of sha256 {revision[:12]}…; they are"
            f" {stored.sha256}. `persyn runs delete` takes away what was asked of the former one."
        )
    source = whole(engine, stored, home)
    if not (source / trained.ADAPTER).exists():
        return str(source)
    return str(_merged(source, home, artifacts.cache(artifacts.STUDENT, home, f"{stored.sha256}.merged")))


def whole(engine: Engine, stored: train_student.StoredStudent, home: Path) -> Path:
    """The folder with the student's files as they were stored, fetched if need be. Raises ConfigError, ModelError."""
    source = train_student.folder(engine, stored, home)
    if not trained.is_whole(source, stored.sha256):
        raise ModelError(
            f"{source} does not hold the files of student {stored.id} as they were stored (sha256)."
            " `persyn student train RUN --again` makes them anew."
        )
    return source


def merge(source: Path, home: Path, target: Path) -> None:
    """Write a LoRA student with its matrices added to its base's weights. Raises ModelError, ConfigError."""
    from persyn.students import train  # noqa: PLC0415 - it loads torch, TRL and PEFT

    told = trained.description(source)
    base = models.model_path(told["model"], told["revision"], home)
    train.merge(source, base, told["revision"], target)


def _merged(source: Path, home: Path, target: Path) -> Path:
    """The folder appears by one rename, complete or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock"), fallback_to_soft=False):
            if not target.is_dir():
                with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as unfinished:
                    merge(source, home, Path(unfinished) / "whole")
                    shutil.move(Path(unfinished) / "whole", target)
                log.info("action=merge_student folder=%s", target)
    except OSError as exc:
        raise ModelError(
            f"{target}: the student cannot be added to its base there: {exc.strerror or exc}. Make room."
        ) from exc
    return target
