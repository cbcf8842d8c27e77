"""`persyn generations`: answers that others made."""

import json
from pathlib import Path
from typing import Annotated

import typer

from persyn.cli import context, terminal
from persyn.cli.options import Json
from persyn.cli.run import find_or_create
from persyn.imports.answers import AnswerImport, import_answers
from persyn.imports.reader import known_format

app = typer.Typer(help="Import answers that exist already.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Import answers that exist already."""


@app.command("import")
def import_(
    files: Annotated[list[str], typer.Argument(help="JSONL, JSON or Parquet files, also .gz; - is standard input.")],
    run: Annotated[str, typer.Option("--run", help="The run, or its YAML: then it is made where it is new.")],
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any answer is refused.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where refused answers go (default: beside the file).")] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="The longest record.")] = 1 << 24,
    format: Annotated[str | None, typer.Option(help="jsonl, json or parquet (default: told by the name).")] = None,
    as_json: Json = False,
) -> None:
    """Import answers, and their quality where the run has a scorer of the kind imported.

    They count as the teachers' own: nothing is generated for what is there. The same file may be imported again.
    """
    engine = context.engine()
    chosen = known_format(format) if format else None
    run_id = find_or_create(engine, run)
    with terminal.progress() as show:
        report = import_answers(
            engine, run_id, files, format=chosen, strict=strict, rejects=rejects, max_bytes=max_bytes,
            on_progress=lambda state: show("Importing", state.read, "rows", state.share),
        )  # fmt: skip
    if as_json:
        path = str(report.rejects_path) if report.rejects_path else None
        typer.echo(json.dumps({"run": run_id} | report._asdict() | {"rejects_path": path}))
    else:
        typer.echo(_summary(report))


def _summary(report: AnswerImport) -> str:
    lines = [
        f"{report.imported:,} answers imported from {report.read:,} records, {report.scored:,} with a new quality; "
        f"{report.duplicates:,} were there already, {report.rejected:,} refused."
    ]
    if report.rejects_path:
        lines.append(f"Why each was refused: {report.rejects_path}")
    return "\n".join(lines)
