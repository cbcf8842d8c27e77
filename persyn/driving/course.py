"""A run's way to a stage, with a worker of this process's own where one is wanted."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from persyn import processes, reporting, runs
from persyn.config import Settings
from persyn.driving.follow import Screen, follow
from persyn.errors import ConfigError, Incomplete, RunStopped
from persyn.jobs import operators
from persyn.states import Stage

if TYPE_CHECKING:
    from sqlalchemy import Engine

ALLOWED = "5%"
LOG_BYTES = 16 * 1024 * 1024  # of the worker's log, when a command begins


def take(
    engine: "Engine", broker_url: str, run_id: int, stage: Stage, shown: Screen, *, with_worker: bool, retry: bool
) -> None:  # fmt: skip
    """Aim the run at a stage and follow it there. Raises RunStopped where it failed or was cancelled."""
    settings = Settings.from_environment()
    with engine.connect() as conn:
        _refuse_cancelled(reporting.status(conn, run_id))
    if retry:
        operators.retry(engine, operators.Filter(run_id=run_id))
    with engine.begin() as conn:
        runs.aim(conn, run_id, stage)
    with _local_worker(settings.home) if with_worker else nullcontext() as process:
        follow(engine, broker_url, run_id, process, settings.home, shown)
    with engine.connect() as conn:
        status = reporting.status(conn, run_id)
    _refuse_cancelled(status)
    if status.state == "failed":
        raise RunStopped(
            f"Run {status.name} failed: {status.reason}. Mend the cause; then the same command with --retry gives its"
            f" {status.dead} dead jobs a fresh start."
        )


def _refuse_cancelled(status: reporting.RunStatus) -> None:
    if status.state == "cancelled":
        raise RunStopped(
            f"Run {status.name} is cancelled: {status.reason}. `persyn runs resume {status.name}` lets it go on."
        )


class Allowance(NamedTuple):
    """The number of prompts that may be missing: so many, or so large a share."""

    number: float
    is_share: bool

    @classmethod
    def parse(cls, given: str) -> "Allowance":
        """`12` or `2.5%`. Raises ConfigError."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%|(\d+)", given.strip())
        if found is None or float(found[1] or 0) > 100:
            raise ConfigError(f"--allow-missing {given}: expected a number of prompts or a share, such as 12 or 2.5%.")
        return cls(float(found[1]) / 100, True) if found[1] else cls(float(found[2]), False)

    def of(self, prompts: int) -> int:
        """The most prompts that may be missing; a share is rounded up, so that a small set may miss one."""
        return math.ceil(round(self.number * prompts, 6)) if self.is_share else int(self.number)


def require(result: reporting.Outcome, name: str, allowed: Allowance) -> None:
    """Raises Incomplete where more answers are missing than may be."""
    missing, most = sum(result.missing.values()), allowed.of(result.prompts)
    if missing > most:
        raise Incomplete(
            f"Run {name} misses {missing:,} of {result.prompts:,} prompts, and --allow-missing allows {most:,}."
            " With --retry their dead jobs get a fresh start."
        )


@contextmanager
def _local_worker(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker for everything, on this host, for as long as the block runs; its log is under `home`."""
    log = home / "logs" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    command = [sys.executable, "-m", "persyn", "worker", "--all"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env=os.environ | {"PYTHONSAFEPATH": "1"},
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
