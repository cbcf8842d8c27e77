"""`persyn audit`: why a row is as it is, and whether everything holds that must hold."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from persyn.reporting import TrailStep

app = typer.Typer(no_args_is_help=True, help="Ask why a row is as it is, and whether all invariants hold.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def prompt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")],
    prompt: Annotated[str, typer.Argument(metavar="ID", help="The prompt's id from your file, or its number.")],
    as_json: Json = False,
) -> None:
    """Show all that happened to a prompt in a run, in order."""
    from persyn import reporting, runs
    from persyn.cli import context, show

    with context.engine().connect() as conn:
        run_id = runs.find(conn, run)
        prompt_id = reporting.find_prompt(conn, run_id, prompt)
        messages = reporting.prompt_messages(conn, prompt_id)
        steps = reporting.trail(conn, run_id, prompt_id)
    if as_json:
        trail = [step._asdict() for step in steps]
        typer.echo(json.dumps({"prompt_id": prompt_id, "messages": messages, "trail": trail}, default=str, indent=2))
        return
    for message in messages:
        show.console.print(
            f"[bold]{message['role']}[/bold]  {show.safe(message['content'])}", highlight=False, emoji=False
        )
    for step in steps:
        _print_step(step)


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


def _fact(value: Any) -> str:
    from persyn.cli import show

    if isinstance(value, float):
        return show.number(value, 4)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show.safe(str(key))} {_fact(inner)}" for key, inner in value.items()) + "}"
    return show.safe(str(value), 300)
