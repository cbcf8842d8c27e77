"""`persyn audit`: why a row is as it is, and whether everything holds that must hold."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from persyn import reporting
from persyn.cli import context, terminal
from persyn.cli.options import Json, RunName
from persyn.reporting.neighbours import Neighbour
from persyn.tools import in_words

app = typer.Typer(no_args_is_help=True, help="Ask why a row is as it is, and whether all invariants hold.")


@app.command()
def prompt(
    run: RunName,
    prompt: Annotated[str, typer.Argument(metavar="ID", help="The prompt's id from your file, or its number.")],
    as_json: Json = False,
) -> None:
    """Show all that happened to a prompt in a run, in order, and why it has its teacher."""
    with context.engine().connect() as conn:
        trail = reporting.prompt_trail(conn, run, prompt)
    if as_json:
        typer.echo(json.dumps(trail.as_json(), default=str, indent=2))
        return
    if trail.tools:
        told = terminal.safe(json.dumps(trail.tools, ensure_ascii=False))
        terminal.console.print(f"[bold]tools[/bold]  {told}", highlight=False, emoji=False)
    for message in trail.messages:
        words = terminal.safe(in_words(message["content"], message.get("tool_calls")))
        terminal.console.print(f"[bold]{message['role']}[/bold]  {words}", highlight=False, emoji=False)
    for step in trail.steps:
        _print_step(step)
    if trail.decision is not None:
        _print_decision(trail.decision)
    if trail.samples:
        terminal.console.print(_sample_table(trail.samples))
    if trail.neighbours:
        terminal.console.print(_neighbour_table(trail.neighbours))


@app.command()
def integrity(as_json: Json = False) -> None:
    """Check every invariant; exit 1 if any is violated."""
    with context.engine().connect() as conn:
        invariants = reporting.integrity(conn)
    if as_json:
        typer.echo(json.dumps(dict(invariants), indent=2))
    else:
        table = Table("invariant", "violations")
        for name, violations in invariants:
            table.add_row(name, str(violations), style="red" if violations else None)
        terminal.console.print(table)
    if any(violations for _, violations in invariants):
        raise typer.Exit(1)


def _print_step(step: reporting.TrailStep) -> None:
    teacher = f" [cyan]{terminal.safe(step.teacher)}[/cyan]" if step.teacher else ""
    known = {key: value for key, value in step.detail.items() if value is not None}
    answer, calls = known.pop("text", None), known.pop("tool_calls", None)
    facts = "  ".join(f"{key}={_fact(value)}" for key, value in known.items())
    terminal.console.print(
        f"[dim]{step.at:%H:%M:%S.%f}[/dim]  [bold]{terminal.safe(step.what)}[/bold]{teacher}  {facts}",
        highlight=False,
        emoji=False,
    )
    if answer is not None:
        words = in_words(str(answer), calls)
        terminal.console.print(f"    {terminal.safe(words)}", highlight=False, emoji=False)


def _print_decision(decision: reporting.DecisionReport) -> None:
    what = "reward" if decision.basis == "measured" else "coefficient"
    words = f"[bold]{terminal.safe(decision.teacher)}[/bold] by the policy {decision.policy} ({decision.basis})"
    if decision.coefficient is not None:
        words += f": {what} {terminal.number(decision.coefficient, 4)}"
    if decision.runner_up is not None:
        rival = f"{terminal.safe(decision.runner_up)} with {terminal.number(decision.runner_up_coefficient, 4)}"
        words += f", the best other teacher {rival}, margin {terminal.number(decision.margin, 4)}"
    if decision.basis == "explored":
        words += f"; drawn at random, with the probability {terminal.number(decision.probability, 4)}"
    terminal.console.print(f"\n{words}", highlight=False, emoji=False)


def _sample_table(samples: list[reporting.Sample]) -> Table:
    table = Table(title="Its answers: the best is taken", pad_edge=False)
    for column in ("teacher", "answer", "generation", "quality", "learnability", "reward", "flaws"):
        table.add_column(column)
    for sample in samples:
        numbers = map(terminal.number, (sample.quality, sample.learnability, sample.reward))
        name = f"{sample.sample_index}{' (best)' if sample.best else ''}"
        cells = [terminal.safe(sample.teacher), name, str(sample.generation_id), *numbers, ", ".join(sample.flaws)]
        table.add_row(*cells, style="bold" if sample.best else None)
    return table


def _neighbour_table(near: list[Neighbour]) -> Table:
    table = Table(title="What taught the router nearby: reward (quality, learnability)", pad_edge=False)
    table.add_column("calibration prompt")
    for teacher in near[0].teachers:
        table.add_column(terminal.safe(teacher.teacher), justify="right")
    for neighbour in near:
        question = neighbour.messages[-1]["content"] if neighbour.messages else ""
        name = terminal.safe(f"{neighbour.external_id or neighbour.prompt_id}: {' '.join(question[:200].split())}", 60)
        cells = [
            f"{terminal.number(got.reward)} ({terminal.number(got.quality)}, {terminal.number(got.learnability)})"
            for got in neighbour.teachers
        ]
        table.add_row(name, *cells)
    return table


def _fact(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(_fact(inner) for inner in value)
    if isinstance(value, float):
        return terminal.number(value, 4)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{terminal.safe(str(key))} {_fact(inner)}" for key, inner in value.items()) + "}"
    return terminal.safe(str(value), 300)
