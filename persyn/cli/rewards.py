"""`persyn rewards`: questions to the scores that are stored."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from persyn import reporting
from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName
from persyn.reporting import AlphaSweep, plots
from persyn.rewards.sweep import parse_alphas

app = typer.Typer(no_args_is_help=True, help="Ask the stored scores, without computing anything anew.")

WIDE_POOL = 6  # teachers that still fit side by side


@app.callback()
def _group() -> None:
    """Keeps the command's own name where it is the only one."""


@app.command()
def sweep(
    run: RunName,
    alpha: Annotated[str, typer.Option("--alpha", help="FROM:TO:STEP or a list, such as 0,0.4,1.")] = "0:1:0.1",
    normalisation: Annotated[
        Literal["minmax", "zscore", "rank"] | None, typer.Option("--normalisation", help="The run's own if absent.")
    ] = None,
    as_json: Json = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it: a .svg, .png or .pdf file.")] = None,
) -> None:
    """Show how the best teachers, their quality and their learnability move with α."""
    alphas = parse_alphas(alpha)
    with context.engine().connect() as conn:
        result = reporting.alpha_sweep(conn, run, alphas, normalisation)
    if plot is not None:
        _draw(plot, result)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
        return
    terminal.console.print(_table(result))
    if plot is not None:
        terminal.console.print(f"The plot is in {terminal.safe(str(plot))}", soft_wrap=True, highlight=False)


def _table(result: AlphaSweep) -> Table:
    """α down and teachers across; the other way round for a pool that would not fit on a terminal."""
    wide = len(result.teachers) > WIDE_POOL
    head, *rows = _columns(result) if wide else [list(row) for row in zip(*_columns(result), strict=True)]
    title = f"{terminal.safe(result.run)}: the best measured answers by α ({result.normalisation})"
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
        f"{result.sweep.prompts} calibration prompts with both scores, {result.sweep.left_out} without. All equal in"
        f" quality: {result.sweep.flat_quality}, in learnability: {result.sweep.flat_learnability}. A tie counts in"
        " equal parts."
    )
    return table


def _columns(result: AlphaSweep) -> list[list[str]]:
    """The table's columns where α goes down, each with its head."""
    points, digits = result.sweep.points, 2 if len(result.teachers) > WIDE_POOL else 3
    shares = [
        [terminal.safe(teacher), *(f"{point.shares[place]:.0%}" for point in points)]
        for place, teacher in enumerate(result.teachers)
    ]
    return [
        ["α", *(f"{point.alpha:g}" for point in points)],
        *shares,
        ["quality", *(terminal.number(point.quality, digits) for point in points)],
        ["learnability", *(terminal.number(point.learnability, digits) for point in points)],
        ["ties", *(str(point.ties) for point in points)],
    ]


def _draw(path: Path, result: AlphaSweep) -> None:
    points = result.sweep.points
    plots.alpha_sweep(
        path,
        title=f"{result.run}: the best teacher by α ({result.normalisation})",
        teachers=result.teachers,
        alphas=[point.alpha for point in points],
        shares=[point.shares for point in points],
        quality=[point.quality for point in points],
        learnability=[point.learnability for point in points],
        own_alpha=result.alpha,
    )
