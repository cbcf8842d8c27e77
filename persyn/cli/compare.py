"""`persyn compare`: what each policy's set is like, and whose students do better."""

import json
from collections.abc import Sequence
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
    terminal.console.print(_prices(found))
    terminal.console.print(_answers(found))
    if examined:
        terminal.console.print(_students(found, examined))
    for sentence in told:
        terminal.console.print(terminal.safe(sentence, 2000), soft_wrap=True, highlight=False)


def _prices(found: Comparison) -> Table:
    rows = [(row, row.data) for row in found.policies if row.data is not None]
    costs = any(data.cost is not None for _, data in rows)
    columns = ("rows", "teacher tokens", "×", *(["cost"] if costs else []))
    table = _table(f"{terminal.safe(found.run)}: the set of each policy, and its price", columns)
    for row, data in rows:
        waiting = f" (+{data.waiting:,} waiting)" if data.waiting else ""
        table.add_row(
            terminal.safe(row.label), f"{data.rows:,}{waiting}", f"{data.tokens:,}", _as(row.relative_tokens, ".2f"),
            *([_as(data.cost, ".4g")] if costs else []), style=_style(found, row),
        )  # fmt: skip
    table.caption = (
        "Teacher tokens: read and written for all answers that the decisions name; ×: relative to the run's own policy."
    )
    return table


def _answers(found: Comparison) -> Table:
    table = _table("what its student learns", ("quality", "learnability", "right", "tokens", "cut", "unparsed"))
    for row in found.policies:
        if (data := row.data) is not None:
            table.add_row(
                terminal.safe(row.label), _as(data.quality, ".3f"), _as(data.learnability, ".3f"),
                _as(data.is_right, ".0%"), _as(data.answer_tokens, ".0f"), _as(data.cut, ".0%"),
                _as(data.unparsed, ".0%"), style=_style(found, row),
            )  # fmt: skip
    table.caption = "Means over the rows; tokens: of an answer."
    return table


def _students(found: Comparison, rows: list[ComparisonRow]) -> Table:
    problems = f"{found.problems:,} problems of {terminal.safe(found.prompts or '')}"
    told = [(row, row.students) for row in rows if row.students is not None]
    leaks = any(facts.leaks for _, facts in told)
    columns = ("students", "right" if found.is_share else "quality", "difference", "p", *(["leaks"] if leaks else []))
    table = _table(f"their students on {problems}", columns)
    form = ".1%" if found.is_share else ".3f"
    for row, facts in told:
        result, differs = facts.result, facts.difference
        table.add_row(
            terminal.safe(row.label), f"{len(facts.seeds) or '–'}",
            f"{result.mean:{form}} [{result.low:{form}}, {result.high:{form}}]",
            "–" if differs is None else f"{_signed(found, differs.mean)} [{_signed(found, differs.low)},"
            f" {_signed(found, differs.high)}]",
            _as(differs and differs.p, ".2g"), *([f"{facts.leaks:,}"] if leaks else []), style=_style(found, row),
        )  # fmt: skip
    table.caption = (
        f"[95% intervals], over problems and students. Difference: from {terminal.safe(found.own.label)}, over the same"
        f" problems{', in points' if found.is_share else ''}; p is adjusted for the number of comparisons (Holm)."
    )
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    """Policies by name, with columns of numbers; 80 characters hold it."""
    table = Table(title=title, pad_edge=False)
    table.add_column("policy", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _style(found: Comparison, row: ComparisonRow) -> str | None:
    return "bold" if row is found.own else None


def _signed(found: Comparison, value: float) -> str:
    return f"{100 * value:+.1f}" if found.is_share else f"{value:+.3f}"


def _as(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
