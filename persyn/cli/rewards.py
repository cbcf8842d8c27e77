"""`persyn rewards`: questions to the scores that are stored."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from persyn.errors import NotFound

if TYPE_CHECKING:
    from rich.table import Table

    from persyn.rewards.sweep import Sweep

app = typer.Typer(no_args_is_help=True, help="Ask the stored scores, without computing anything anew.")

WIDE_POOL = 6  # teachers that still fit side by side


@app.callback()
def _group() -> None:
    """Keeps the command's own name where it is the only one."""


@app.command()
def sweep(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")],
    alpha: Annotated[str, typer.Option("--alpha", help="FROM:TO:STEP or a list, such as 0,0.4,1.")] = "0:1:0.1",
    normalisation: Annotated[
        Literal["minmax", "zscore", "rank"] | None, typer.Option("--normalisation", help="The run's own if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it: a .svg, .png or .pdf file.")] = None,
) -> None:
    """Show how the best teachers, their quality and their learnability move with α."""
    from persyn import runs
    from persyn.cli import context, terminal
    from persyn.rewards import matrix
    from persyn.rewards import sweep as sweeping

    alphas = sweeping.parse_alphas(alpha)
    with context.engine().connect() as conn:
        found = runs.load(conn, runs.find(conn, run))
        measured = matrix.load(conn, found.id, found.config)
    how = normalisation or found.config.normalisation
    result = sweeping.sweep(measured.quality, measured.learnability, alphas, how)
    if not result.points:
        raise NotFound(
            f"Run {found.name} has no calibration prompt with two answers that have both quality and learnability."
            f" `persyn score {found.name}` makes the scores; `persyn status {found.name}` shows how far they are."
        )
    teachers = [teacher.name for teacher in found.config.teachers]
    if plot is not None:
        _draw(plot, f"{found.name}: the best teacher by α ({how})", teachers, result)
    if as_json:
        body = result._asdict() | {"points": [point._asdict() for point in result.points]}
        typer.echo(json.dumps({"run": found.name, "normalisation": how, "teachers": teachers} | body, indent=2))
        return
    terminal.console.print(_table(found.name, how, teachers, result))
    if plot is not None:
        terminal.console.print(f"The plot is in {terminal.safe(str(plot))}", soft_wrap=True, highlight=False)


def _table(name: str, how: str, teachers: list[str], result: "Sweep") -> "Table":
    """α down and teachers across; the other way round for a pool that would not fit on a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from persyn.cli import terminal

    wide = len(teachers) > WIDE_POOL
    digits = 2 if wide else 3
    columns = [["α", *(f"{point.alpha:g}" for point in result.points)]]
    for place, teacher in enumerate(teachers):
        columns.append([terminal.safe(teacher), *(f"{point.shares[place]:.0%}" for point in result.points)])
    columns.append(["quality", *(terminal.number(point.quality, digits) for point in result.points)])
    columns.append(["learnability", *(terminal.number(point.learnability, digits) for point in result.points)])
    columns.append(["ties", *(str(point.ties) for point in result.points)])
    head, *rows = columns if wide else [list(row) for row in zip(*columns, strict=True)]
    title = f"{terminal.safe(name)}: the best measured answers by α ({how})"
    if wide:  # eleven numbers and a name of any length on a line: the name gives way
        table = Table(title=title, box=SIMPLE_HEAD, padding=0, pad_edge=False)
        table.add_column(head[0], overflow="fold", min_width=len("learnability"))
    else:
        table = Table(title=title, pad_edge=False)
        table.add_column(head[0], justify="right")
    for column in head[1:]:
        table.add_column(column, justify="right", no_wrap=wide)
    for row in rows:
        table.add_row(*row)
    table.caption = (
        f"{result.prompts} calibration prompts with both scores, {result.left_out} without. All equal in quality:"
        f" {result.flat_quality}, in learnability: {result.flat_learnability}. A tie counts in equal parts."
    )
    return table


def _draw(path: Path, title: str, teachers: list[str], result: "Sweep") -> None:
    from persyn.reporting import plots

    plots.alpha_sweep(
        path,
        title=title,
        teachers=teachers,
        alphas=[point.alpha for point in result.points],
        shares=[point.shares for point in result.points],
        quality=[point.quality for point in result.points],
        learnability=[point.learnability for point in result.points],
    )
