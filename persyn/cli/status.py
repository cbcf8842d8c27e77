"""`persyn status`: how far a run is, and what holds it up."""

import json
import time
from collections.abc import Callable
from typing import Annotated

import typer

from persyn import reporting, runs
from persyn.cli import context, fleet, terminal
from persyn.cli.options import Json, RunName
from persyn.cli.screen import screen
from persyn.driving.patience import Patience
from persyn.jobs import pauses

_POLL_S = 1.0
Now = tuple[reporting.RunStatus, list[reporting.HoldUp]]


def show_status(
    run: RunName,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until the run goes no further.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far a run is, stage by stage, and what holds it up."""
    engine = context.engine()

    def now() -> Now:
        with engine.connect() as conn:
            run_id = runs.find(conn, run)
            status = reporting.status(conn, run_id)
            return status, [] if status.ended else reporting.why_waiting(conn, run_id)

    if watch:
        _follow(now)
        return
    current, held_up = now()
    with engine.connect() as conn:
        held = [pause for pause in pauses.paused(conn) if pause.run_id in (None, current.id)]
    if as_json:
        body = current.as_json() | {"paused": [pause._asdict() for pause in held]}
        body["waiting_for"] = [each.sentence for each in held_up]
        typer.echo(json.dumps(body, default=str, indent=2))
        return
    terminal.console.print(terminal.status_table(current))
    fleet.print_pauses(held)
    for each in held_up:
        if each.kind not in ("run paused", "queue paused"):
            fleet.print_note(each.sentence)


def _follow(now: Callable[[], Now]) -> None:
    """Show the run until it goes no further, also through an absence of Postgres."""
    with screen() as shown:
        patience = Patience(shown.say)
        while True:
            current = patience.ask(now)
            if current is not None:
                status, held_up = current
                shown.show(status, [each.sentence for each in held_up])
                if status.ended:
                    return
            time.sleep(_POLL_S)
