"""`persyn runs`: which runs there are, and ending, resuming or deleting one."""

import getpass
import json
import socket
from typing import Any

import typer
from rich.table import Table

from persyn import removal, reporting, runs
from persyn.cli import context, fleet, terminal
from persyn.cli.options import Json, RunName, Yes
from persyn.errors import ConfigError

app = typer.Typer(help="List the runs; cancel, resume or delete one.")


@app.callback(invoke_without_command=True)
def list_runs(ctx: typer.Context, as_json: Json = False) -> None:
    """List the runs; cancel, resume or delete one."""
    if ctx.invoked_subcommand is not None:
        return
    with context.engine().connect() as conn:
        rows = reporting.runs(conn)
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=2))
        return
    if not rows:
        terminal.console.print("There are no runs. `persyn run FILE` starts one.")
        return
    terminal.console.print(_table(rows))
    for row in rows:
        if row["state"] in ("failed", "waiting", "cancelled"):
            fleet.print_note(f"{row['name']} ({row['state']}): {row['reason']}")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("id", "run")
    table.add_column("state", no_wrap=True)
    for column in ("prompt set", "student", "policy", "created", "jobs"):
        table.add_column(column)
    for row in rows:
        numbers = [f"{row[state]:,} {state}" for state in ("done", "open", "dead") if row[state]]
        cells = (row["id"], row["name"], row["state"], row["prompt_set"], row["student"], row["policy"],
                 f"{row['created_at']:%F %H:%M}", ", ".join(numbers) or "–")  # fmt: skip
        style = "red" if row["state"] == "failed" else None
        table.add_row(*(terminal.safe(str(cell)) for cell in cells), style=style)
    return table


@app.command()
def cancel(run: RunName, yes: Yes = False) -> None:
    """End a run: take back its open and dead jobs, and add no more. Answers that it has stay."""
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
        status = reporting.status(conn, run_id)
    if status.state == "cancelled":
        raise ConfigError(f"Run {status.name} is cancelled already: {status.reason}.")
    waiting = sum(stage.ready + stage.dead for stage in status.stages)
    if not yes and not typer.confirm(f"Run {status.name} ends here; {waiting} jobs are cancelled. Go on?"):
        return
    number = runs.cancel(engine, run_id, by=f"{getpass.getuser()}@{socket.gethostname()}")
    typer.echo(f"Run {status.name} is cancelled, {number} jobs with it.")
    if leased := sum(stage.leased for stage in status.stages):
        typer.echo(f"Workers hold {leased} of its jobs: what they finish is stored, the rest is cancelled.")


@app.command()
def resume(run: RunName) -> None:
    """Let a cancelled run go on, with its cancelled jobs."""
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
        name = runs.load(conn, run_id).name
    number = runs.resume(engine, run_id)
    typer.echo(f"Run {name} goes on; {number} cancelled jobs are ready again.")


@app.command()
def delete(run: RunName, yes: Yes = False) -> None:
    """Delete a run with its jobs, decisions and router; answers stay while another run needs them."""
    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
        name = runs.load(conn, run_id).name
        sizes = removal.size_of_run(conn, run_id)
    typer.echo(f"Run {name}: {removal.sentence(sizes)}.")
    if not yes and not typer.confirm("All this is deleted for good. Go on?"):
        return
    with engine.begin() as conn:
        files = removal.delete_run(conn, run_id)
    typer.echo(f"Run {name} is deleted.")
    for path in files:
        terminal.console.print(f"Its file {terminal.safe(path)} is left where it is.", soft_wrap=True, highlight=False)
