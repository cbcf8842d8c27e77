"""`persyn check`: whether a run could start and what it would take; `persyn run` looks at the same first."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from persyn import preflight
from persyn.cli import context, terminal
from persyn.cli.options import Json, RouterOf, WithWorker
from persyn.config import RunConfig, Settings, load_run, parse_run
from persyn.preflight.report import duration, money

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Engine


def check(
    config: Annotated[Path, typer.Argument(help="The run's YAML.")],
    with_worker: WithWorker = False,
    router_of: RouterOf = None,
    as_json: Json = False,
) -> None:
    """Check a run before anything is spent, and estimate what it would take: answers, tokens, hours, money."""
    parsed = load(config, router_of)
    report = _report(context.engine(), parsed, with_worker)
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=2))
    else:
        show(report, terminal.console, with_worker=with_worker)
    raise typer.Exit(2 if report.wrong else 0)


def load(config: Path, router_of: str | None) -> RunConfig:
    """The run of this YAML, with the router of another one where its name is given. Raises ConfigError."""
    parsed = load_run(config)
    if router_of is None:
        return parsed
    raw = parsed.model_dump(mode="json", exclude_unset=True)  # what is not given stays a default
    return parse_run(raw | {"router": raw.get("router", {}) | {"of": router_of}}, source="--router-of")


def before(engine: "Engine", config: RunConfig, *, with_worker: bool, no_check: bool, yes: bool, dry_run: bool) -> None:
    """Check a run that is about to begin, as `persyn run` does; one that has begun goes on without.

    Ends the command where something is wrong, where the person at the terminal says no, and in a dry run.
    """
    if not dry_run and (no_check or preflight.has_begun(engine, config)):
        return
    report = _report(engine, config, with_worker)
    show(report, terminal.err, with_worker=with_worker)
    if report.wrong:
        raise typer.Exit(2)
    asks = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    if dry_run or (asks and not typer.confirm("Start this run?", default=True, err=True)):
        raise typer.Exit(0)


def _report(engine: "Engine", config: RunConfig, with_worker: bool) -> preflight.Report:
    with terminal.err.status(f"Checking {terminal.safe(config.name)}; each endpoint is asked once."):
        return preflight.check(engine, config, Settings.from_environment(), with_worker=with_worker)


def show(report: preflight.Report, console: "Console", *, with_worker: bool) -> None:
    """Print the table, what is behind its figures, the findings and the verdict."""
    if report.stages:
        console.print(_table(report))
        _print(console, *_behind_the_figures(report))
    if report.needs and not with_worker:
        _print(console, "The workers need:", *(f"  {need.worker}: {need.thing}" for need in report.needs))
    if report.answered:
        _print(console, f"Asked once, and answered: {', '.join(report.answered)}.")
    for finding in sorted(report.findings, key=lambda finding: finding.wrong):
        level = "[red]wrong[/red]" if finding.wrong else "[yellow]note[/yellow]"
        told = terminal.safe(f"{finding.about}: {finding.told}")
        console.print(f"{level} {told}", highlight=False, soft_wrap=True)
    _print(console, report.verdict())


def _print(console: "Console", *lines: str) -> None:
    console.print("\n".join(map(terminal.safe, lines)), highlight=False, soft_wrap=True)


def _table(report: preflight.Report) -> Table:
    table = Table(
        title=f"{terminal.safe(report.run)}: {report.prompts:,} prompts, {report.calibration:,} for calibration"
    )
    table.add_column("stage", no_wrap=True)
    for column in ("to do", "there", "tokens read", "written", "time", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in report.stages:
        table.add_row(f"{stage.stage}: {stage.unit}", f"{stage.new:,}", f"{stage.there:,}", *_figures(stage))
    return table


def _behind_the_figures(report: preflight.Report) -> Iterator[str]:
    yield from report.assumptions
    if report.cost_at_most is not None:
        yield f"The answers cost {money(report.cost_at_most)} at most, if each takes all of its max_tokens."
    if report.disk_bytes is not None:
        yield f"The database grows by about {_size(report.disk_bytes)}."


def _figures(stage: preflight.StageEstimate) -> list[str]:
    counts = [
        terminal.number(None) if count is None else f"{count:,}"
        for count in (stage.prompt_tokens, stage.completion_tokens)
    ]
    time = terminal.number(None) if stage.hours is None else duration(stage.hours)
    return [*counts, time, terminal.number(None) if stage.cost is None else money(stage.cost)]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"
