"""Follows a run from the terminal: advances it as any reconciler does, and may be killed at any time."""

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from persyn import jobs, reporting
from persyn.cli import terminal
from persyn.db import session
from persyn.errors import ServiceError
from persyn.jobs import wake_ups
from persyn.stages import pipeline
from persyn.states import Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

POLL_S = 1.0


def follow(engine: "Engine", broker_url: str, run_id: int, worker: subprocess.Popen[bytes] | None, home: Path) -> None:
    """Advance, wake and show until every job up to the run's aim is final.

    Raises ServiceError where the worker that was started for this ended by itself.
    """
    with engine.connect() as conn:
        app = wake_ups.application(broker_url, wake_ups.deployment(conn))
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:<13}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    # Answers come in batches, minutes apart on a small machine: a short window would show no rate at all.
    with Progress(*columns, console=terminal.err, speed_estimate_period=600.0) as progress:
        while True:
            began = time.monotonic()
            step = pipeline.advance(engine, run_id)
            with engine.connect() as conn:
                status = reporting.status(conn, run_id)
                due = jobs.waiting(conn)
            _draw(progress, bars, status)
            if step.finished:
                return
            try:
                for name, count in due.items():
                    wake_ups.wake(app, name, count)
            except wake_ups.BROKER_ERRORS as exc:
                why = terminal.safe(session.in_one_line(exc))
                progress.console.log(f"The broker takes no wake-ups: {why}; workers go on without them.")
            if worker is not None and worker.poll() is not None:
                raise ServiceError(
                    f"The worker ended with code {worker.returncode}. Its log is {home / 'logs' / 'worker.log'};"
                    " the same command goes on from here."
                )
            # On a large run a round costs seconds: never spend more than a fifth of the time looking.
            time.sleep(max(POLL_S, 4 * (time.monotonic() - began)))


def _draw(progress: Progress, bars: dict[str, TaskID], status: reporting.RunStatus) -> None:
    for stage in status.stages:
        finished, total = stage.done + stage.dead + stage.cancelled, stage.total
        if stage.stage == reporting.STAGE_NAMES[Stage.ROUTE]:  # one job, but as many decisions as prompts
            finished, total = status.decided, status.prompts
        if stage.stage not in bars:
            bars[stage.stage] = progress.add_task(stage.stage, total=total, rate="")
        task = progress.tasks[progress.task_ids.index(bars[stage.stage])]
        speed = task.finished_speed or task.speed
        progress.update(bars[stage.stage], completed=finished, total=total, rate=f"{speed:.1f}/s" if speed else "")
