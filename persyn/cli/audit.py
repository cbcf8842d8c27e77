"""`persyn audit`: why a row is as it is, and whether everything holds that must hold."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from persyn.reporting import Decision, TrailStep
    from persyn.rewards.neighbours import Neighbour

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
    from persyn.cli import context, show
    from persyn.rewards import neighbours

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
        show.console.print(
            f"[bold]{message['role']}[/bold]  {show.safe(message['content'])}", highlight=False, emoji=False
        )
    for step in steps:
        _print_step(step)
    if decision is not None:
        _print_decision(decision)
    if near:
        show.console.print(_neighbour_table(near))


@app.command()
def integrity(as_json: Json = False) -> None:
    """Check every invariant; exit 1 if any is violated."""
    from rich.table import Table

    from persyn import reporting
    from persyn.cli import context, show

    with context.engine().connect() as conn:
        found = reporting.integrity(conn)
    if as_json:
        typer.echo(json.dumps(dict(found), indent=2))
    else:
        table = Table("invariant", "violations")
        for name, violations in found:
            table.add_row(name, str(violations), style="red" if violations else None)
        show.console.print(table)
    if any(violations for _, violations in found):
        raise typer.Exit(1)


def _print_step(step: "TrailStep") -> None:
    from persyn.cli import show

    teacher = f" [cyan]{show.safe(step.teacher)}[/cyan]" if step.teacher else ""
    known = {key: value for key, value in step.detail.items() if value is not None}
    answer = known.pop("text", None)
    facts = "  ".join(f"{key}={_fact(value)}" for key, value in known.items())
    show.console.print(
        f"[dim]{step.at:%H:%M:%S.%f}[/dim]  [bold]{show.safe(step.what)}[/bold]{teacher}  {facts}",
        highlight=False,
        emoji=False,
    )
    if answer is not None:
        show.console.print(f"    {show.safe(str(answer))}", highlight=False, emoji=False)


def _print_decision(decision: "Decision") -> None:
    from persyn.cli import show

    what = "reward" if decision.basis == "measured" else "coefficient"
    words = f"[bold]{show.safe(decision.teacher)}[/bold] by the policy {decision.policy} ({decision.basis})"
    if decision.coefficient is not None:
        words += f": {what} {show.number(decision.coefficient, 4)}"
    if decision.runner_up is not None:
        rival = f"{show.safe(decision.runner_up)} with {show.number(decision.runner_up_coefficient, 4)}"
        words += f", the best other teacher {rival}, margin {show.number(decision.margin, 4)}"
    show.console.print(f"\n{words}", highlight=False, emoji=False)


def _neighbour_table(near: "list[Neighbour]") -> "Table":
    from rich.table import Table

    from persyn.cli import show

    table = Table(title="What taught the router nearby: reward (quality, learnability)", pad_edge=False)
    table.add_column("calibration prompt")
    for teacher in near[0].teachers:
        table.add_column(show.safe(teacher.teacher), justify="right")
    for neighbour in near:
        asked = neighbour.messages[-1]["content"] if neighbour.messages else ""
        name = show.safe(f"{neighbour.external_id or neighbour.prompt_id}: {' '.join(asked[:200].split())}", 60)
        cells = [
            f"{show.number(found.reward)} ({show.number(found.quality)}, {show.number(found.learnability)})"
            for found in neighbour.teachers
        ]
        table.add_row(name, *cells)
    return table


def _fact(value: Any) -> str:
    from persyn.cli import show

    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(_fact(inner) for inner in value)
    if isinstance(value, float):
        return show.number(value, 4)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show.safe(str(key))} {_fact(inner)}" for key, inner in value.items()) + "}"
    return show.safe(str(value), 300)
