"""`persyn export`: the training set as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persyn import exports, reporting, runs
from persyn.cli import context, terminal
from persyn.cli.options import RunName
from persyn.config import Settings
from persyn.errors import PersynError

if TYPE_CHECKING:
    from sqlalchemy import Engine


def export(
    run: RunName,
    folder: Annotated[Path | None, typer.Option("--out", help="The folder to write to.")] = None,
) -> None:
    """Write the set that the run has so far, and a manifest of it."""
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
    write(engine, run_id, folder)


def write(engine: "Engine", run_id: int, folder: Path | None = None) -> Path:
    """Write the export and say where it is. Raises PersynError where the run has no decisions to export."""
    with engine.connect() as conn:
        config = runs.load(conn, run_id).config
        if reporting.status(conn, run_id).decided == 0:
            raise PersynError(
                f"Run {config.name} has routed no prompt yet, so there is nothing to export."
                f" `persyn status {config.name}` shows how far it is."
            )
    folder = folder or Settings.from_environment().home / "exports" / config.name
    exports.export_run(engine, run_id, folder, formats=config.export.formats, layout=config.export.layout)
    terminal.console.print(f"The set is in {folder}", soft_wrap=True, highlight=False)
    return folder
