"""The options of the commands that import, and the lines that they print alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from persyn.imports.reading import Taken, nothing
from persyn.imports.shapes import NAMES

Files = Annotated[
    list[str],
    typer.Argument(
        help="JSONL, JSON, CSV, Parquet or Arrow files, also .gz .zst .xz .bz2; folders and quoted patterns;"
        " hf://OWNER/NAME; - is standard input."
    ),
]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="SHAPE", help=f"The records' shape: {', '.join(NAMES)} (default: told by keys)."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="FIELD=COLUMN",
        help="Where id, prompt, messages, system, tools, reference_answer, answer or answers is read;"
        " a template such as 'prompt={instruction}\\n\\n{input}' joins columns.",
    ),
]  # fmt: skip
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="COLUMN", help="A column that is no part of the prompt, though its name says so."),
]
Rejects = Annotated[Path | None, typer.Option(help="Where refused records go (default: beside the file).")]


def shape_lines(shapes: Sequence[Taken]) -> list[str]:
    """A line for each shape that was taken: where each field came from, and what was left out."""
    lines = []
    for taken in shapes:
        places = [
            field if field == where else f"{field} from {where}"
            for field, where in taken.fields.items()
            if field not in ("answer", "answers")
        ]
        lines.append(f"Shape {taken.shape} ({taken.prompts:,}): {', '.join(places)}.")
        if taken.answers:
            lines.append(
                f"{taken.answers:,} came with answers, which are no part of a prompt. `persyn generations import`"
                " reads them from the same file."
            )
    return lines


def rejects_lines(path: Path | None, first_reason: str | None = None) -> list[str]:
    """The place of the refused records, and the first reason where it is not told otherwise."""
    if path is None:
        return []
    return [f"Why each was refused: {path}", *([f"The first: {first_reason}."] if first_reason else [])]


def nothing_came(what: str, read: int, reason: str | None, columns: Sequence[str]) -> None:
    """Say on standard error why nothing was imported, and end with status 1."""
    typer.echo(f"persyn: {nothing(what, read, reason, columns)}", err=True)
    raise typer.Exit(1)
