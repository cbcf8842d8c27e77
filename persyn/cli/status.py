"""`persyn status` and `persyn runs`: how far a run is, and which runs there are."""

import json
import time
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from persyn import reporting, runs
from persyn.cli import context, fleet, terminal
from persyn.cli.options import Json, RunName
from persyn.jobs import pauses


def show_status(
    run: RunName,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until the run is finished.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far a run is, stage by stage."""
    engine = context.engine()

    def now() -> reporting.RunStatus:
        with engine.connect() as conn:
            return reporting.status(conn, runs.find(conn, run))

    current = now()
    with engine.connect() as conn:
        held = [pause for pause in pauses.paused(conn) if pause.run_id in (None, current.id)]
    if as_json:
        body = current.as_json() | {"paused": [pause._asdict() for pause in held]}
        typer.echo(json.dumps(body, default=str, indent=2))
        return
    if not watch:
        terminal.console.print(terminal.status_table(current))
        fleet.print_pauses(held)
        return
    with Live(terminal.status_table(current), console=terminal.console) as live:
        while current.finished_at is None:
            time.sleep(1.0)
            current = now()
            live.update(terminal.status_table(current))


def list_runs(as_json: Json = False) -> None:
    """List the runs."""
    with context.engine().connect() as conn:
        rows = reporting.runs(conn)
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=2))
        return
    table = Table("id", "run", "prompt set", "student", "policy", "created", "finished")
    for row in rows:
        table.add_row(*(terminal.safe(_cell(value)) for value in row.values()))
    terminal.console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:%F %T}" if hasattr(value, "year") else str(value)
