"""`persyn generations`: answers that others made."""

import json
from pathlib import Path
from typing import Annotated

import typer

from persyn.cli import context, terminal
from persyn.cli.imports import As, Files, Ignore, Map, nothing_came, rejects_lines
from persyn.cli.options import Json
from persyn.cli.run import find_or_create
from persyn.imports.answers import AnswerImport, import_answers
from persyn.imports.reader import known_format
from persyn.imports.reading import Reading

app = typer.Typer(help="Import answers that exist already.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Import answers that exist already."""


@app.command("import")
def import_(
    files: Files,
    run: Annotated[str, typer.Option("--run", help="The run, or its YAML: then it is made where it is new.")],
    answers_as: Annotated[
        str | None, typer.Option("--answers-as", metavar="TEACHER", help="Whose the answers are that name no teacher.")
    ] = None,
    shape: As = None,
    maps: Map = None,
    ignored: Ignore = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any answer is refused.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where refused answers go (default: beside the file).")] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="The longest record.")] = 1 << 24,
    format: Annotated[str | None, typer.Option(help="The files' format (default: told by the name).")] = None,
    as_json: Json = False,
) -> None:
    """Import answers, and their quality where the run has a scorer of the kind imported.

    They count as the teachers' own: nothing is generated for what is there. The same file may be imported again. The
    shapes are those of `persyn prompts import`; an answer that names no teacher needs --answers-as.
    """
    engine = context.engine()
    chosen, reading = known_format(format) if format else None, Reading.parse(maps or (), shape, ignored or ())
    run_id = find_or_create(engine, run)
    with terminal.progress() as show:
        report = import_answers(
            engine, run_id, files, reading=reading, answers_as=answers_as, format=chosen, strict=strict,
            rejects=rejects, max_bytes=max_bytes,
            on_progress=lambda state: show("Importing", state.read, "rows", state.share),
        )  # fmt: skip
    if as_json:
        path = str(report.rejects_path) if report.rejects_path else None
        shapes = [taken._asdict() for taken in report.shapes]
        typer.echo(json.dumps({"run": run_id} | report._asdict() | {"rejects_path": path, "shapes": shapes}))
    else:
        typer.echo(_summary(report))
    if report.came_to_nothing:
        nothing_came("answer", report.read, report.first_reason, tuple(reading.columns))


def _summary(report: AnswerImport) -> str:
    lines = [
        f"{report.imported:,} answers imported from {report.read:,} records, {report.scored:,} with a new quality; "
        f"{report.duplicates:,} were there already, {report.rejected:,} refused."
    ]
    return "\n".join(lines + list(report.notes) + rejects_lines(report.rejects_path))
