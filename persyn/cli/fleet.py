"""For the person who runs the fleet: who works where, what is held back, and how a worker leaves."""

import getpass
import json
import re
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from persyn import reporting, runs, versions
from persyn.cli import context, terminal
from persyn.cli.options import Json, Queue, RunKey, Teacher
from persyn.driving.patience import Patience
from persyn.errors import ConfigError, NotFound
from persyn.jobs import pauses, workers
from persyn.jobs.wake_ups import teacher_queue

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 3650 * 86_400.0
_POLL_S = 1.0


def seconds(duration: str) -> float:
    """`90s`, `10m`, `2h`, `1d` or `3h50m` in seconds, ten years at most. Raises ConfigError."""
    parts = _PART.findall(duration)
    length = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if _PART.sub("", duration.strip()) or not 0 < length <= _LONGEST_S:
        raise ConfigError(f"{duration!r} is no length of time. Write it as 90s, 10m, 2h or 1d.")
    return length


def list_workers(
    everyone: Annotated[bool, typer.Option("--all", help="Also those that stopped within a day.")] = False,
    as_json: Json = False,
) -> None:
    """Show who works where: state, queue, tokens a second, jobs held; and what its host cannot do."""
    with context.engine().connect() as conn:
        rows, held = workers.workers(conn), pauses.paused(conn)
        notes = reporting.why_waiting(conn)
    if as_json:
        typer.echo(json.dumps([row.as_json() for row in rows], default=str, indent=2))
        return
    shown = rows if everyone else [row for row in rows if row.state != workers.WorkerState.STOPPED]
    if shown:
        terminal.console.print(_table(shown))
    elif not rows:
        terminal.console.print("No worker was seen within a day. `persyn worker --help` says how to start one.")
    if len(shown) < len(rows):
        print_note(f"{len(rows) - len(shown)} more stopped within a day; `persyn workers --all` lists them.")
    print_unfit(rows)
    print_pauses(held)
    for note in notes:
        if note.kind not in ("run paused", "queue paused"):  # they stand above, with those that hold nothing up
            print_note(note.sentence)


def print_unfit(rows: list[workers.Worker]) -> None:
    """One line for each thing that a worker's host cannot do, and one for each queue that nobody can serve."""
    for row in rows:
        for each in row.unfit if row.is_there else []:
            again = in_future(each["again_at"])
            print_note(f"{row.name} cannot serve {each['queue']} and looks again {again}: {each['reason']}")


def in_future(moment: str) -> str:
    left = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return f"in {left:.0f} s" if left > 0 else "soon"


def _table(rows: list[workers.Worker]) -> Table:
    """Narrow enough for 80 characters; a name that is needed in a command is never cut."""
    table = Table()
    table.add_column("worker", no_wrap=True, overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("queue", overflow="fold")
    for column in ("tokens/s", "jobs", "seen"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(terminal.safe(cell) for cell in _cells(row)))
    return table


def _cells(worker: workers.Worker) -> list[str]:
    idle = f"serves {', '.join(worker.queues)}" if worker.state == workers.WorkerState.IDLE else "–"
    serves = f"{worker.queue} ({worker.model})" if worker.model else worker.queue or idle
    rate = "–" if worker.tokens_per_s is None else f"{worker.tokens_per_s:.0f}"
    return [worker.name, str(worker.state), serves, rate, str(worker.leased_jobs), ago(worker.seen_at)]


def ago(moment: datetime) -> str:
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


def pause(
    teacher: Teacher = None,
    queue: Queue = None,
    run: RunKey = None,
    length: Annotated[str | None, typer.Option("--for", metavar="10m", help="Resume by itself after this.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the next person who looks.")] = "",
) -> None:
    """Hold back a teacher's queue, any queue, or a run. What is in flight finishes."""
    wait = None if length is None else seconds(length)
    if run is not None and wait is not None:
        raise ConfigError("--for: a run is paused until it is resumed. Leave --for out, or pause a teacher.")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    with context.engine().begin() as conn:
        name, run_id = _target(conn, teacher, queue, run)
        if run_id is not None:
            pauses.pause_run(conn, run_id, reason=reason, by=by)
        else:
            pauses.pause_queue(conn, name, reason=reason, by=by, seconds=wait)
    terminal.console.print(
        f"{terminal.safe(name)} is paused{f' for {length}' if length else ''}; what is in flight finishes."
    )


def resume(teacher: Teacher = None, queue: Queue = None, run: RunKey = None) -> None:
    """Let a teacher's queue, any queue, or a run go on."""
    with context.engine().begin() as conn:
        name, run_id = _target(conn, teacher, queue, run)
        changed = pauses.resume_queue(conn, name) if run_id is None else pauses.resume_run(conn, run_id)
    terminal.console.print(f"{terminal.safe(name)} {'goes on' if changed else 'was not paused'}.")


def _target(conn: "Connection", teacher: str | None, queue: str | None, run: str | None) -> tuple[str, int | None]:
    """The queue's name, or the run as people call it and its id. Raises ConfigError, NotFound."""
    if sum(given is not None for given in (teacher, queue, run)) != 1:
        raise ConfigError("Say what: one of --teacher NAME, --queue QUEUE and --run RUN.")
    if run is not None:
        return f"Run {run}", runs.find(conn, run)
    return queue_of(conn, teacher, queue) or "", None


def queue_of(conn: "Connection", teacher: str | None, queue: str | None) -> str | None:
    """The queue that --teacher or --queue names. Raises NotFound for a teacher of no run."""
    if teacher is None:
        return queue
    known = versions.teacher_names(conn)
    if teacher not in known:
        raise NotFound(f"There is no teacher {teacher!r}. Known are: {', '.join(known) or 'none yet'}.")
    return teacher_queue(teacher)


def print_pauses(held: list[pauses.Pause]) -> None:
    """One line for each thing that is held back, and why."""
    for pause in held:
        print_note(reporting.pause_sentence(pause))


def print_note(sentence: str) -> None:
    """A line about what holds work up."""
    terminal.console.print(f"[yellow]{terminal.safe(sentence)}[/yellow]", highlight=False, emoji=False, soft_wrap=True)


def drain(
    name: Annotated[str | None, typer.Argument(help="The worker, as `persyn workers` calls it.")] = None,
    host: Annotated[str | None, typer.Option(help="All workers on this host.")] = None,
    grace: Annotated[str, typer.Option(metavar="10m", help="Hand back what is not finished after this.")] = "10m",
    wait: Annotated[bool, typer.Option("--wait", help="Come back once they have left.")] = False,
) -> None:
    """Let workers finish what they hold, claim nothing more, and leave."""
    if (name is None) == (host is None):
        raise ConfigError("Say who: a worker's name, or --host HOST for all on one host.")
    engine = context.engine()
    with engine.begin() as conn:
        names = workers.request_drain(conn, name=name, host=host, grace_s=seconds(grace))
    terminal.console.print(f"{terminal.safe(', '.join(names))}: asked to finish and leave.")
    if wait:
        _wait_until_left(engine, names)
        terminal.console.print("All have left.")


def _wait_until_left(engine: "Engine", names: list[str]) -> None:
    with terminal.err.status("Waiting for them to leave…") as spinner:
        patience = Patience(lambda line: terminal.err.print(terminal.safe(line), highlight=False))

        def still_there() -> list[str]:
            with engine.connect() as conn:
                return workers.still_there(conn, names)

        while (left := patience.ask(still_there)) != []:
            if left:
                spinner.update(f"Waiting for {terminal.safe(', '.join(left))}…")
            time.sleep(_POLL_S)
