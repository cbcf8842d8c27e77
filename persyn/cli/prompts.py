"""`persyn prompts`: importing prompts into a set, correcting them, and looking at them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from persyn.cli import context, prompts_delete, terminal
from persyn.cli.imports import As, Files, Ignore, Map, Rejects, nothing_came, rejects_lines, shape_lines
from persyn.cli.options import Json
from persyn.imports import corrections, prompt_sets
from persyn.imports.prompts import PromptImport, import_prompts
from persyn.imports.reader import FORMATS, known_format
from persyn.imports.reading import Reading
from persyn.tools import in_words

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Import prompts into a set, correct them, look at them, delete them.", no_args_is_help=True)
app.command("delete")(prompts_delete.delete)
SetName = Annotated[str, typer.Argument(metavar="SET", help="The prompt set's name.")]
SetOption = Annotated[str, typer.Option("--set", help="The prompt set.")]
Strict = Annotated[bool, typer.Option("--strict", help="Change nothing if any record is refused.")]
MaxBytes = Annotated[int, typer.Option(min=1, help="The longest record.")]
FormatName = Annotated[str | None, typer.Option("--format", help=f"{', '.join(FORMATS)} (default: told by the name).")]


@app.command("import")
def import_(
    files: Files,
    set_name: Annotated[str, typer.Option("--set", help="The prompt set; made where it does not exist.")],
    shape: As = None,
    maps: Map = None,
    ignored: Ignore = None,
    strict: Strict = False,
    rejects: Rejects = None,
    max_bytes: MaxBytes = 1 << 20,
    format: FormatName = None,
    as_json: Json = False,
) -> None:
    """Import prompts. The same file may be imported again: prompts that the set already has are skipped.

    Known shapes are recognised by their keys: Alpaca, ShareGPT, chat messages, UltraFeedback, GSM8K, MATH and others.
    """
    chosen, reading = known_format(format) if format else None, Reading.parse(maps or (), shape, ignored or ())
    with _engine(may_begin=True) as engine, terminal.progress() as show:
        report = import_prompts(
            engine, set_name, files, reading=reading, format=chosen, strict=strict, rejects=rejects,
            max_bytes=max_bytes, on_progress=lambda state: show("Importing", state.read, "rows", state.share),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"set": set_name} | _json(report)))
    else:
        typer.echo(_summary(set_name, report))
    if report.came_to_nothing:
        nothing_came("prompt", report.read, report.first_reason, report.columns)


@app.command()
def update(
    files: Files,
    set_name: SetOption,
    shape: As = None,
    maps: Map = None,
    ignored: Ignore = None,
    strict: Strict = False,
    rejects: Rejects = None,
    max_bytes: MaxBytes = 1 << 20,
    format: FormatName = None,
    as_json: Json = False,
) -> None:
    """Correct the reference answers, ids and metadata of stored prompts, which are found by their text or by their id.

    Quality that was measured by an old reference answer is taken back; the next `persyn run` measures it again.
    """
    chosen, reading = known_format(format) if format else None, Reading.parse(maps or (), shape, ignored or ())
    with _engine() as engine, terminal.progress() as show:
        report = corrections.update_prompts(
            engine, set_name, files, reading=reading, format=chosen, strict=strict, rejects=rejects,
            max_bytes=max_bytes, on_progress=lambda state: show("Reading", state.read, "rows", state.share),
        )  # fmt: skip
    if as_json:
        path = str(report.rejects_path) if report.rejects_path else None
        typer.echo(json.dumps({"set": set_name} | report._asdict() | {"rejects_path": path}))
    else:
        lines = [
            f"{report.updated:,} prompts of {set_name} corrected; {report.unchanged:,} were so already,"
            f" {report.rejected:,} refused."
        ]
        if report.scores_removed:
            lines.append(
                f"{report.scores_removed:,} scores by old reference answers were taken back; `persyn run` makes them"
                " anew."
            )
        typer.echo("\n".join(lines + rejects_lines(report.rejects_path)))
    if report.came_to_nothing:
        nothing_came("correction", report.read, report.first_reason, tuple(reading.columns))


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the prompt sets with their sizes."""
    with _engine() as engine:
        sets = prompt_sets.list_sets(engine)
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


@app.command()
def head(
    set_name: SetName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 5,
    as_json: Json = False,
) -> None:
    """Show the first prompts of a set."""
    with _engine() as engine:
        _print(prompt_sets.head(engine, set_name, count), as_json, limit=500)


@app.command()
def show(
    set_name: SetName,
    prompt: Annotated[str, typer.Argument(metavar="ID", help="Its id in your file, or its number.")],
    as_json: Json = False,
) -> None:
    """Show a prompt with its messages, reference answer and metadata."""
    with _engine() as engine:
        _print(prompt_sets.show(engine, set_name, prompt), as_json, limit=100_000)


def _print(prompts: list[prompt_sets.PromptInfo], as_json: bool, *, limit: int) -> None:
    if as_json:
        typer.echo(json.dumps([prompt._asdict() for prompt in prompts]))
        return
    for prompt in prompts:
        name = "" if prompt.external_id is None else f", id {prompt.external_id}"
        terminal.console.print(terminal.safe(f"prompt {prompt.id}{name}, {prompt.answers} answers"), style="bold")
        for message in prompt.messages:
            words = in_words(message["content"], message.get("tool_calls"))
            terminal.console.print(terminal.safe(f"  {message['role']}: {words}", limit), highlight=False)
        beside = {"tools": prompt.tools, "reference answer": prompt.reference_answer, "meta": prompt.meta or None}
        for label, value in beside.items():
            if value is not None:
                told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                terminal.console.print(terminal.safe(f"  {label}: {told}", limit), highlight=False)


@contextmanager
def _engine(*, may_begin: bool = False) -> Iterator["Engine"]:
    engine = context.engine(may_begin=may_begin)
    try:
        yield engine
    finally:
        engine.dispose()


def _json(report: PromptImport) -> dict[str, object]:
    shapes = [taken._asdict() for taken in report.shapes]
    path = str(report.rejects_path) if report.rejects_path else None
    return report._asdict() | {"rejects_path": path, "shapes": shapes}


def _summary(set_name: str, report: PromptImport) -> str:
    repeated = f"{report.repeated:,} repeated in the file, " if report.repeated else ""
    lines = [
        f"{report.imported:,} of {report.read:,} prompts imported into {set_name}; "
        f"{report.duplicates:,} were there already, {repeated}{report.rejected:,} refused."
    ]
    first = None if report.came_to_nothing else report.first_reason
    return "\n".join([*lines, *shape_lines(report.shapes), *report.notes, *rejects_lines(report.rejects_path, first)])
