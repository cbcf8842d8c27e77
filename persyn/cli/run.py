"""`persyn run` and its single steps: enqueue, watch, and go on from wherever the last call stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persyn import processes, reporting, runs
from persyn.cli import check, context, export, terminal, watch
from persyn.cli.options import RunName, WithWorker
from persyn.config import Settings, load_run
from persyn.states import Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not check a new run first.")]
Yes = Annotated[bool, typer.Option("--yes", help="Start without a question.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Stop after the check; nothing is made.")]


def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML; `persyn init` writes one.")],
    with_worker: WithWorker = False,
    no_check: NoCheck = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Take a run from its YAML to its export; kill it whenever you like, the next call goes on."""
    parsed = load_run(config)
    engine = context.engine(may_begin=True)
    check.before(engine, parsed, with_worker=with_worker, no_check=no_check, yes=yes, dry_run=dry_run)
    with engine.begin() as conn:
        run_id = runs.create(conn, parsed)
    finish(engine, run_id, Stage.GENERATE, with_worker=with_worker)
    report(engine, run_id)
    export.write(engine, run_id)


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


def step(run: str, stage: Stage, with_worker: bool) -> None:
    """Take a run, by its name, number or YAML, to a stage, and show its status there."""
    engine = context.engine(may_begin=_is_file(run))
    run_id = find_or_create(engine, run)
    finish(engine, run_id, stage, with_worker=with_worker)
    with engine.connect() as conn:
        terminal.console.print(terminal.status_table(reporting.status(conn, run_id)))


def _is_file(run: str) -> bool:
    return run.endswith((".yaml", ".yml"))


def find_or_create(engine: "Engine", run: str) -> int:
    """The id of a run by its name or number, or by its YAML, which makes it where it is new."""
    with engine.begin() as conn:
        if _is_file(run):
            return runs.create(conn, load_run(Path(run)))
        return runs.find(conn, run)


def finish(engine: "Engine", run_id: int, stage: Stage, *, with_worker: bool) -> None:
    """Aim the run at a stage and follow it there."""
    settings = Settings.from_environment()
    with engine.begin() as conn:
        runs.aim(conn, run_id, stage)
    with _local_worker(settings.home) if with_worker else nullcontext() as process:
        watch.follow(engine, context.endpoints().broker_url, run_id, process, settings.home)


@contextmanager
def _local_worker(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker for everything, on this host, for as long as the block runs; its log is under `home`."""
    log = home / "logs" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "persyn", "worker", "--all"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=partial(processes.end_with, os.getpid()),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=75)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def report(engine: "Engine", run_id: int) -> None:
    """Print the run's summary and, where something could not be done, what and why."""
    with engine.connect() as conn:
        summary = reporting.summary(conn, run_id)
        flat = reporting.degenerate_prompts(conn, run_id)
        status = reporting.status(conn, run_id)
        failures = reporting.failures(conn, run_id) if status.dead else []
    for table in terminal.summary_tables(summary):
        terminal.console.print(table)
    if any(flat[1:]):
        terminal.console.print(terminal.degenerate_line(flat), highlight=False)
    for row in failures:
        if row.dead_now:
            detail = terminal.safe(row.example_detail or "", 300)
            terminal.err.print(
                f"[red]{row.dead_now} jobs of {row.queue} are dead[/red]: {row.error_code}: {detail}", emoji=False
            )
