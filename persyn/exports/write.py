"""Exports a run: all files, and a manifest with their content, its origin and what is missing.

The files are written in a hidden folder beside their places and moved there when all of them are complete, the manifest
last. A crash or a full disk leaves the previous export as it was.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

import persyn
from persyn.errors import PersynError, ServiceError
from persyn.exports import rows
from persyn.exports.files import Format, open_sink
from persyn.exports.rows import Layout

MANIFEST = "manifest.json"
STEM = "train"

_RECORD = text("""
INSERT INTO export (run_id, format, layout, path, sha256, rows)
VALUES (:run_id, :format, :layout, :path, :sha256, :rows)
""")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExportedFile(_Frozen):
    format: Format
    name: str
    rows: int
    bytes: int
    sha256: str


class RouterVersion(_Frozen):
    id: int
    sha256: str


class Manifest(_Frozen):
    run: str
    run_id: int
    student: str
    policy: str
    config_sha256: str
    router: RouterVersion | None
    run_code_version: str
    export_code_version: str
    layout: Layout
    rows: int
    rows_by_teacher: dict[str, int]
    missing: dict[str, int]  # prompts of the set without a row, by reason
    files: list[ExportedFile]


def export_run(
    engine: Engine, run_id: int, folder: Path, formats: Sequence[Format] = ("jsonl",), layout: Layout = "messages"
) -> Manifest:
    """Write `train.jsonl`, `train.parquet` or both, and `manifest.json`, into the folder; note each in table `export`.

    Raises NotFound, ServiceError where Postgres goes away, and PersynError where the files cannot be written; nothing
    in the folder has changed then.
    """
    formats = list(dict.fromkeys(formats))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
            unfinished = Path(temporary)
            with _snapshot(engine) as connection:
                manifest = _write(connection, run_id, unfinished, formats, layout)
            (unfinished / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            with engine.begin() as connection:
                _record(connection, manifest, folder)
                for name in [*(file.name for file in manifest.files), MANIFEST]:
                    os.replace(unfinished / name, folder / name)
    except OSError as exc:
        raise PersynError(
            f"{folder}: the export cannot be written: {exc.strerror or exc}. Make room or choose another folder, "
            "then export again; no file was left half written."
        ) from exc
    except OperationalError as exc:
        problem = " ".join(str(exc.orig).split())
        raise ServiceError(f"Postgres failed during the export: {problem}. Export again; the old files stand.") from exc
    return manifest


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that shows all queries the same state of the tables, while workers go on writing."""
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def _write(connection: Connection, run_id: int, folder: Path, formats: Sequence[Format], layout: Layout) -> Manifest:
    facts = rows.run_facts(connection, run_id)
    by_teacher = Counter(dict.fromkeys(facts.teachers, 0))
    with ExitStack() as stack:
        sinks = [stack.enter_context(open_sink(folder / f"{STEM}.{format}", format, layout)) for format in formats]
        for answer in rows.answers(connection, run_id):
            by_teacher[answer.teacher] += 1
            row = rows.training_row(answer, layout)

            for sink in sinks:
                sink.add(row)
    total = by_teacher.total()
    return Manifest(
        run=facts.name,
        run_id=facts.id,
        student=facts.student,
        policy=facts.policy,
        config_sha256=facts.config_sha256,
        router=_router(facts),
        run_code_version=facts.code_version,
        export_code_version=persyn.__version__,
        layout=layout,
        rows=total,
        rows_by_teacher=dict(by_teacher),
        missing=rows.missing(connection, run_id),
        files=[_describe(folder / f"{STEM}.{format}", format, total) for format in formats],
    )


def _router(facts: rows.RunFacts) -> RouterVersion | None:
    if facts.router_id is None or facts.router_sha256 is None:
        return None
    return RouterVersion(id=facts.router_id, sha256=facts.router_sha256)


def _describe(path: Path, format: Format, total: int) -> ExportedFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(format=format, name=path.name, rows=total, bytes=path.stat().st_size, sha256=sha256)


def _record(connection: Connection, manifest: Manifest, folder: Path) -> None:
    for file in manifest.files:
        values = file.model_dump(include={"format", "sha256", "rows"})
        place = {"run_id": manifest.run_id, "layout": manifest.layout, "path": str((folder / file.name).resolve())}
        connection.execute(_RECORD, values | place)
