"""`persyn audit`: why a row is as it is, and whether everything holds that must hold."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from persyn.reporting import Decision, TrailStep
    from persyn.reporting.neighbours import Neighbour

app = typer.Typer(no_args_is_help=True, help="Ask why a row is as it is, and whether all invariants hold.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def prompt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")],
    prompt: Annotated[str, typer.Argument(metavar="ID", help="The prompt's id from your file, or its number.")],
    as_json: Json = False,
) -> None:
    """Show all that happened to a prompt in a run, in order, and why it has its teacher."""
    from persyn import reporting, runs
    from persyn.cli import context, terminal
    from persyn.reporting import neighbours

    with context.engine().connect() as conn:
        run_id = runs.find(conn, run)
        prompt_id = reporting.find_prompt(conn, run_id, prompt)
        messages = reporting.prompt_messages(conn, prompt_id)
        steps = reporting.trail(conn, run_id, prompt_id)
        decision = reporting.decision(conn, run_id, prompt_id)
        near_ids = decision.neighbour_ids if decision else []
        near = neighbours.measured_on(conn, run_id, runs.load(conn, run_id).config, near_ids)
    if as_json:
        body = {
            "prompt_id": prompt_id,
            "messages": messages,
            "trail": [step._asdict() for step in steps],
            "decision": decision and decision._asdict(),
            "neighbours": [neighbour.as_json() for neighbour in near],
        }
        typer.echo(json.dumps(body, default=str, indent=2))
        return
    for message in messages:
        terminal.console.print(
            f"[bold]{message['role']}[/bold]  {terminal.safe(message['content'])}", highlight=False, emoji=False
        )
    for step in steps:
        _print_step(step)
    if decision is not None:
        _print_decision(decision)
    if near:
        terminal.console.print(_neighbour_table(near))


@app.command()
def integrity(as_json: Json = False) -> None:
    """Check every invariant; exit 1 if any is violated."""
    from rich.table import Table

    from persyn import reporting
    from persyn.cli import context, terminal

    with context.engine().connect() as conn:
        found = reporting.integrity(conn)
    if as_json:
        typer.echo(json.dumps(dict(found), indent=2))
    else:
        table = Table("invariant", "violations")
        for name, violations in found:
            table.add_row(name, str(violations), style="red" if violations else None)
        terminal.console.print(table)
    if any(violations for _, violations in found):
        raise typer.Exit(1)


def _print_step(step: "TrailStep") -> None:
    from persyn.cli import terminal

    teacher = f" [cyan]{terminal.safe(step.teacher)}[/cyan]" if step.teacher else ""
    known = {key: value for key, value in step.detail.items() if value is not None}
    answer = known.pop("text", None)
    facts = "  ".join(f"{key}={_fact(value)}" for key, value in known.items())
    terminal.console.print(
        f"[dim]{step.at:%H:%M:%S.%f}[/dim]  [bold]{terminal.safe(step.what)}[/bold]{teacher}  {facts}",
        highlight=False,
        emoji=False,
    )
    if answer is not None:
        terminal.console.print(f"    {terminal.safe(str(answer))}", highlight=False, emoji=False)


def _print_decision(decision: "Decision") -> None:
    from persyn.cli import terminal

    what = "reward" if decision.basis == "measured" else "coefficient"
    words = f"[bold]{terminal.safe(decision.teacher)}[/bold] by the policy {decision.policy} ({decision.basis})"
    if decision.coefficient is not None:
        words += f": {what} {terminal.number(decision.coefficient, 4)}"
    if decision.runner_up is not None:
        rival = f"{terminal.safe(decision.runner_up)} with {terminal.number(decision.runner_up_coefficient, 4)}"
        words += f", the best other teacher {rival}, margin {terminal.number(decision.margin, 4)}"
    terminal.console.print(f"\n{words}", highlight=False, emoji=False)


def _neighbour_table(near: "list[Neighbour]") -> "Table":
    from rich.table import Table

    from persyn.cli import terminal

    table = Table(title="What taught the router nearby: reward (quality, learnability)", pad_edge=False)
    table.add_column("calibration prompt")
    for teacher in near[0].teachers:
        table.add_column(terminal.safe(teacher.teacher), justify="right")
    for neighbour in near:
        asked = neighbour.messages[-1]["content"] if neighbour.messages else ""
        name = terminal.safe(f"{neighbour.external_id or neighbour.prompt_id}: {' '.join(asked[:200].split())}", 60)
        cells = [
            f"{terminal.number(found.reward)} ({terminal.number(found.quality)}, {terminal.number(found.learnability)})"
            for found in neighbour.teachers
        ]
        table.add_row(name, *cells)
    return table


def _fact(value: Any) -> str:
    from persyn.cli import terminal

    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(_fact(inner) for inner in value)
    if isinstance(value, float):
        return terminal.number(value, 4)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{terminal.safe(str(key))} {_fact(inner)}" for key, inner in value.items()) + "}"
    return terminal.safe(str(value), 300)
