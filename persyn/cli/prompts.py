"""`persyn prompts`: importing prompts into a set, and listing the sets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from persyn.imports.prompts import ImportReport, Progress

app = typer.Typer(help="Import prompts into a set, and list the sets.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


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
    as_json: AsJson = False,
) -> None:
    """Import prompts. The same file may be imported again: prompts that the set already has are skipped."""
    from persyn.imports.prompt_records import Columns
    from persyn.imports.prompts import import_prompts
    from persyn.imports.reader import known_format

    chosen, columns = known_format(format) if format else None, Columns.parse(maps or [])
    with _engine() as engine, bar() as on_progress:
        report = import_prompts(
            engine,
            set_name,
            files,
            columns=columns,
            format=chosen,
            strict=strict,
            rejects=rejects,
            max_bytes=max_bytes,
            on_progress=on_progress,
        )
    if as_json:
        path = str(report.rejects_path) if report.rejects_path else None
        typer.echo(json.dumps({"set": set_name} | report._asdict() | {"rejects_path": path}))
    else:
        typer.echo(_summary(set_name, report))


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the prompt sets with their sizes."""
    from persyn.imports.prompts import list_sets

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
def _engine() -> "Iterator[Engine]":
    from persyn.cli import context

    engine = context.engine()
    try:
        yield engine
    finally:
        engine.dispose()


def _summary(set_name: str, report: "ImportReport") -> str:
    lines = [
        f"{report.imported:,} of {report.read:,} prompts imported into {set_name}; "
        f"{report.duplicates:,} were there already, {report.rejected:,} refused."
    ]
    if report.rejects_path:
        lines.append(f"Why each was refused: {report.rejects_path}")
    return "\n".join(lines)


@contextmanager
def bar() -> Iterator[Callable[["Progress"], None]]:
    """A progress bar on standard error, where that is a terminal: share, rows, rows per second, time left."""
    import time

    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        progress.TextColumn("Importing"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, started = bar.add_task("", total=None, rows=0, rate=0.0), time.monotonic()

        def show(state: "Progress") -> None:
            rate = state.read / max(time.monotonic() - started, 1e-9)
            total = None if state.share is None else 1.0
            bar.update(task, total=total, completed=state.share or 0.0, rows=state.read, rate=rate)

        yield show
