"""`persyn run` and its single steps: enqueue, watch, and go on from wherever the last call stopped."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persyn.errors import PersynError
from persyn.states import Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")]
WithWorker = Annotated[bool, typer.Option("--with-worker", help="Also run a worker for everything on this host.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML; `persyn init` writes one.")],
    with_worker: WithWorker = False,
) -> None:
    """Take a run from its YAML to its export; kill it whenever you like, the next call goes on."""
    from persyn import runs
    from persyn.cli import context
    from persyn.config import load_run

    parsed = load_run(config)
    engine = context.engine()
    with engine.begin() as conn:
        run_id = runs.create(conn, parsed)
    finish(engine, run_id, Stage.GENERATE, with_worker=with_worker)
    report(engine, run_id)
    print_export(engine, run_id)


def calibrate(run: RunName, with_worker: WithWorker = False) -> None:
    """Stop once every teacher has answered the calibration prompts. RUN may be a YAML that is new."""
    step(run, Stage.CALIBRATE, with_worker)


def score(run: RunName, with_worker: WithWorker = False) -> None:
    """Stop once the calibration answers are scored."""
    step(run, Stage.SCORE, with_worker)


def route(run: RunName, with_worker: WithWorker = False) -> None:
    """Stop once every prompt has its teacher."""
    step(run, Stage.ROUTE, with_worker)


def generate(run: RunName, with_worker: WithWorker = False) -> None:
    """Stop once every teacher has answered its own prompts."""
    step(run, Stage.GENERATE, with_worker)


def export(
    run: RunName,
    folder: Annotated[Path | None, typer.Option("--out", help="The folder to write to.")] = None,
) -> None:
    """Write the set that the run has so far, and a manifest of it."""
    from persyn import runs
    from persyn.cli import context

    engine = context.engine()
    with engine.connect() as conn:
        run_id = runs.find(conn, run)
    print_export(engine, run_id, folder)


def status(
    run: RunName,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until the run is finished.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far a run is, stage by stage."""
    from rich.live import Live

    from persyn import reporting, runs
    from persyn.cli import context, fleet, terminal
    from persyn.jobs import pauses

    engine = context.engine()

    def now() -> reporting.RunStatus:
        with engine.connect() as conn:
            return reporting.status(conn, runs.find(conn, run))

    current = now()
    with engine.connect() as conn:
        held = [each for each in pauses.paused(conn) if each.run_id in (None, current.id)]
    if as_json:
        shown = current.as_json() | {"paused": [each._asdict() for each in held]}
        typer.echo(json.dumps(shown, default=str, indent=2))
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


def runs(as_json: Json = False) -> None:
    """List the runs."""
    from rich.table import Table

    from persyn import reporting
    from persyn.cli import context, terminal

    with context.engine().connect() as conn:
        found = reporting.runs(conn)
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
        return
    table = Table("id", "run", "prompt set", "student", "policy", "created", "finished")
    for row in found:
        table.add_row(*(terminal.safe(_cell(value)) for value in row.values()))
    terminal.console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:%F %T}" if hasattr(value, "year") else str(value)


def finish(engine: "Engine", run_id: int, stage: Stage, *, with_worker: bool) -> None:
    """Aim the run at a stage and follow it there."""
    from persyn import runs
    from persyn.cli import context, watch, worker
    from persyn.config import Settings

    settings = Settings.from_environment()
    with engine.begin() as conn:
        runs.aim(conn, run_id, stage)
    with worker.local_worker(settings.home) if with_worker else nullcontext() as process:
        watch.follow(engine, context.endpoints().broker_url, run_id, process, settings.home)


def report(engine: "Engine", run_id: int) -> None:
    """Print the run's summary and, where something could not be done, what and why."""
    from persyn import reporting, runs
    from persyn.cli import terminal
    from persyn.rewards import degenerate, matrix

    with engine.connect() as conn:
        summary = reporting.summary(conn, run_id)
        measured = matrix.load(conn, run_id, runs.load(conn, run_id).config)
        status = reporting.status(conn, run_id)
        failures = reporting.failures(conn, run_id) if status.dead else []
    for table in terminal.summary_tables(summary):
        terminal.console.print(table)
    flat = degenerate.count(measured.quality, measured.learnability, measured.reward)
    if any(flat[1:]):
        terminal.console.print(terminal.degenerate_line(flat), highlight=False)
    for row in failures:
        if row.dead_now:
            detail = terminal.safe(row.example_detail or "", 300)
            terminal.err.print(
                f"[red]{row.dead_now} jobs of {row.queue} are dead[/red]: {row.error_code}: {detail}", emoji=False
            )


def print_export(engine: "Engine", run_id: int, folder: Path | None = None) -> Path:
    """Write the export and say where it is. Raises PersynError where the run has no decisions to export."""
    from persyn import exports, reporting, runs
    from persyn.cli import terminal
    from persyn.config import Settings

    with engine.connect() as conn:
        config = runs.load(conn, run_id).config
        if reporting.status(conn, run_id).decided == 0:
            raise PersynError(
                f"Run {config.name} has routed no prompt yet, so there is nothing to export."
                f" `persyn status {config.name}` shows how far it is."
            )
    folder = folder or Settings.from_environment().home / "exports" / config.name
    exports.export_run(engine, run_id, folder, formats=config.export.formats, layout=config.export.layout)
    terminal.console.print(f"The set is in {folder}", soft_wrap=True, highlight=False)
    return folder


def find_or_create(engine: "Engine", run: str) -> int:
    """The id of a run by its name or number, or by its YAML, which makes it where it is new."""
    from persyn import runs as runs_table
    from persyn.config import load_run

    with engine.begin() as conn:
        if run.endswith((".yaml", ".yml")):
            return runs_table.create(conn, load_run(Path(run)))
        return runs_table.find(conn, run)


def step(run: str, stage: Stage, with_worker: bool) -> None:
    from persyn.cli import context, terminal

    engine = context.engine()
    run_id = find_or_create(engine, run)
    finish(engine, run_id, stage, with_worker=with_worker)
    from persyn import reporting

    with engine.connect() as conn:
        terminal.console.print(terminal.status_table(reporting.status(conn, run_id)))
