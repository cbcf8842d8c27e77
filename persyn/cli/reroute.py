"""`persyn reroute`: see what asking further teachers would bring, before it is paid for."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName
from persyn.reporting import plots, rerouting
from persyn.reporting.rerouting import PlanRow, ReroutePlan

app = typer.Typer(no_args_is_help=True, help="Ask further teachers where an answer is not good enough.")


@app.callback()
def _group() -> None:
    """Keeps the command's own name where it is the only one."""


@app.command()
def plan(
    run: RunName,
    as_json: Json = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it: a .svg, .png or .pdf file.")] = None,
) -> None:
    """Replay rerouting on the calibration answers: quality and price for each number of attempts and budget."""
    if plot is not None:
        plots.kind_of(plot)
    with context.engine().connect() as conn:
        found = rerouting.plan(conn, run)
    if plot is not None:
        plots.reroute_frontier(plot, title=f"{found.run}: quality by answers", rows=found.rows, rivals=found.rivals)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    terminal.console.print(_table(found))
    terminal.console.print(terminal.safe(found.advice), soft_wrap=True, highlight=False)
    if plot is not None:
        terminal.console.print(f"The plot is in {terminal.safe(str(plot))}", soft_wrap=True, highlight=False)


def _table(found: ReroutePlan) -> Table:
    title = f"{terminal.safe(found.run)}: replayed on {found.prompts} calibration prompts, bar {found.bar:g}"
    table = Table(title=title, pad_edge=False)
    table.add_column("setting")
    priced = [found.unit] if found.unit != "answers" else []
    for column in ("answers", *priced, "quality", "95%", "of gap", "good"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.rows:
        _add(table, row, found)
    table.add_section()
    for row in found.rivals:
        _add(table, row, found)
    table.caption = (
        "Answers and price are a prompt's mean. Of gap: of the way from the best single teacher's quality to that of"
        " the best of all answers. Good: answers at the bar or above. The run's own setting is bold."
    )
    return table


def _add(table: Table, row: PlanRow, found: ReroutePlan) -> None:
    price = [] if found.unit == "answers" else [f"{row.price:.4g}"]
    gap = "–" if row.of_gap is None else f"{row.of_gap.mean:.0%}"
    cells = [
        f"{row.answers:.2f}",
        *price,
        f"{row.quality.mean:.3f}",
        f"{row.quality.low:.3f} to {row.quality.high:.3f}",
    ]
    table.add_row(row.name, *cells, gap, f"{row.good:.0%}", style="bold" if row.is_own else None)
