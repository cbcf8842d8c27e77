"""`persyn prompts`: importing prompts into a set, and listing the sets."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persyn.cli import context, prompts_delete, terminal
from persyn.cli.options import Json
from persyn.imports.prompt_records import Columns
from persyn.imports.prompts import PromptImport, import_prompts, list_sets
from persyn.imports.reader import known_format

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Import prompts into a set, list the sets, delete prompts.", no_args_is_help=True)
app.command("delete")(prompts_delete.delete)


@app.command("import")
def import_(
    files: Annotated[
        list[str], typer.Argument(help="JSONL, JSON, CSV or Parquet files, also .gz; - is standard input.")
    ],
    set_name: Annotated[str, typer.Option("--set", help="The prompt set; made where it does not exist.")],
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Where id, prompt, messages or reference_answer is read."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any record is refused.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where refused records go (default: beside the file).")] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="The longest record.")] = 1 << 20,
    format: Annotated[str | None, typer.Option(help="jsonl, json, csv or parquet (default: told by the name).")] = None,
    as_json: Json = False,
) -> None:
    """Import prompts. The same file may be imported again: prompts that the set already has are skipped."""
    chosen, columns = known_format(format) if format else None, Columns.parse(maps or [])
    with _engine(may_begin=True) as engine, terminal.progress() as show:
        report = import_prompts(
            engine,
            set_name,
            files,
            columns=columns,
            format=chosen,
            strict=strict,
            rejects=rejects,
            max_bytes=max_bytes,
            on_progress=lambda state: show("Importing", state.read, "rows", state.share),
        )
    if as_json:
        path = str(report.rejects_path) if report.rejects_path else None
        typer.echo(json.dumps({"set": set_name} | report._asdict() | {"rejects_path": path}))
    else:
        typer.echo(_summary(set_name, report))


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the prompt sets with their sizes."""
    with _engine() as engine:
        sets = list_sets(engine)
    if as_json:
        typer.echo(json.dumps([info._asdict() for info in sets]))
    elif not sets:
        typer.echo("There are no prompt sets. `persyn prompts import FILE --set NAME` makes one.")
    else:
        width = max(len("NAME"), *(len(info.name) for info in sets))
        typer.echo(f"{'NAME':<{width}}  {'PROMPTS':>9}  {'WITH ANSWER':>11}  CREATED")
        for info in sets:
            created = info.created_at[:16].replace("T", " ")
            typer.echo(f"{info.name:<{width}}  {info.prompts:>9,}  {info.with_reference_answer:>11,}  {created}")


@contextmanager
def _engine(*, may_begin: bool = False) -> Iterator["Engine"]:
    engine = context.engine(may_begin=may_begin)
    try:
        yield engine
    finally:
        engine.dispose()


def _summary(set_name: str, report: PromptImport) -> str:
    lines = [
        f"{report.imported:,} of {report.read:,} prompts imported into {set_name}; "
        f"{report.duplicates:,} were there already, {report.rejected:,} refused."
    ]
    if report.rejects_path:
        lines.append(f"Why each was refused: {report.rejects_path}")
    return "\n".join(lines)
