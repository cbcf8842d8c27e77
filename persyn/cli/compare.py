"""`persyn compare`: what each policy's set is like, and whose students do better."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName
from persyn.reporting import comparison, plots, verdict
from persyn.reporting.comparison import Comparison, ComparisonRow


def compare(
    run: RunName,
    prompts: Annotated[
        str | None, typer.Option("--prompts", metavar="SET", help="The set that the students were examined on.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw the results: a .svg, .png or .pdf file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the sets of the run's policies, and their students' results on problems that none has seen."""
    if plot is not None:
        plots.kind_of(plot)
    found = comparison.compare(context.engine(), run, prompts)
    told = verdict.sentences(found)
    examined = [row for row in found.rows if row.students is not None]
    if plot is not None and examined:
        plots.policy_results(
            plot, title=f"{found.run}: students on {found.prompts}", labels=[row.label for row in examined],
            results=[row.students.result for row in examined if row.students], own=found.own.label,
            axis="share right" if found.is_share else "mean quality",
        )  # fmt: skip
        told.append(f"The plot is in {plot}")
    elif plot is not None:
        told.append("There is no result yet, so no plot was drawn.")
    if as_json:
        typer.echo(json.dumps(found.as_json() | {"sentences": told}, indent=2))
        return
    terminal.console.print(_sets(found))
    if examined:
        terminal.console.print(_students(found, examined))
    for sentence in told:
        terminal.console.print(terminal.safe(sentence, 2000), soft_wrap=True, highlight=False)


def _sets(found: Comparison) -> Table:
    rows = [row for row in found.policies if row.data is not None]
    costs = any(row.data is not None and row.data.cost is not None for row in rows)
    table = Table(title=f"{terminal.safe(found.run)}: what each policy's students learn", pad_edge=False)
    table.add_column("policy")
    columns = ("rows", "teacher tokens", "×", *(["cost"] if costs else []), "quality", "learnability", "right",
               "tokens", "cut", "unparsed")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        _add_set(table, row, costs=costs, own=found.own)
    table.caption = (
        "Teacher tokens: read and written for all answers that the decisions name; ×: relative to the run's own policy."
        " The rest are means over the rows; tokens: of an answer."
    )
    return table


def _add_set(table: Table, row: ComparisonRow, *, costs: bool, own: ComparisonRow) -> None:
    data = row.data
    if data is None:
        return
    waiting = f" (+{data.waiting:,} waiting)" if data.waiting else ""
    table.add_row(
        terminal.safe(row.label), f"{data.rows:,}{waiting}", f"{data.tokens:,}", _as(row.relative_tokens, ".2f"),
        *([_as(data.cost, ".4g")] if costs else []), _as(data.quality, ".3f"), _as(data.learnability, ".3f"),
        _as(data.is_right, ".0%"), _as(data.answer_tokens, ".0f"), _as(data.cut, ".0%"), _as(data.unparsed, ".0%"),
        style="bold" if row is own else None,
    )  # fmt: skip


def _students(found: Comparison, rows: list[ComparisonRow]) -> Table:
    problems = f"{found.problems:,} problems of {terminal.safe(found.prompts or '')}"
    table = Table(title=f"their students on {problems}", pad_edge=False)
    table.add_column("policy")
    for column in ("students", "right" if found.is_share else "quality", "95%", "difference", "95%", "p", "leaks"):
        table.add_column(column, justify="right", no_wrap=True)
    form = ".1%" if found.is_share else ".3f"
    for row in rows:
        facts = row.students
        if facts is None:
            continue
        differs = facts.difference
        table.add_row(
            terminal.safe(row.label), f"{len(facts.seeds) or '–'}", format(facts.result.mean, form),
            f"{facts.result.low:{form}} to {facts.result.high:{form}}",
            "–" if differs is None else _signed(found, differs.mean),
            "–" if differs is None else f"{_signed(found, differs.low)} to {_signed(found, differs.high)}",
            _as(differs and differs.p, ".2g"), f"{facts.leaks:,}", style="bold" if row is found.own else None,
        )  # fmt: skip
    table.caption = (
        f"Intervals are over problems and students. Difference: from {terminal.safe(found.own.label)}, over the same"
        f" problems{', in points' if found.is_share else ''}; p is adjusted for the number of comparisons (Holm)."
    )
    return table


def _signed(found: Comparison, value: float) -> str:
    return f"{100 * value:+.1f}" if found.is_share else f"{value:+.3f}"


def _as(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
