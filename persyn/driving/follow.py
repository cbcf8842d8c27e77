"""Follows a run: advances it as any reconciler does, and may be killed at any time."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from persyn import jobs, reporting
from persyn.driving.patience import Patience
from persyn.errors import ServiceError
from persyn.jobs import wake_ups
from persyn.stages import pipeline

if TYPE_CHECKING:
    from celery import Celery
    from sqlalchemy import Engine

POLL_S = 1.0


class Screen(Protocol):
    """A place to show a run's progress at, with what holds it up."""

    def show(self, status: reporting.RunStatus, notes: Sequence[str]) -> None:
        """The state of the run now; `notes` say why something waits."""

    def say(self, line: str) -> None:
        """Something that happened."""


class Look(NamedTuple):
    """The state of a run at one moment."""

    step: pipeline.Progress
    status: reporting.RunStatus
    due: dict[str, int]
    held: list[reporting.HoldUp]


def follow(
    engine: "Engine", broker_url: str, run_id: int, worker: subprocess.Popen[bytes] | None, home: Path, shown: Screen
) -> None:  # fmt: skip
    """Advance, wake and show until the run goes no further by itself; outlive Postgres' and the broker's absence.

    Raises ServiceError where the worker that was started for this ended by itself.
    """
    log = home / "logs" / "worker.log"
    with engine.connect() as conn:
        deployment = wake_ups.deployment(conn)
    with wake_ups.application(broker_url, deployment) as app:
        patience, broker, notes = Patience(shown.say), _Broker(app, shown), _Notes(worker is not None, log)
        while True:
            began = time.monotonic()
            look = patience.ask(lambda: _look(engine, run_id))
            if look is not None:
                shown.show(look.status, [] if look.status.ended else notes.of(look.held))
                if look.step.finished or look.status.ended:
                    return
                broker.wake(look.due)
            if worker is not None and worker.poll() is not None:
                raise ServiceError(
                    f"The worker ended with code {worker.returncode}. Its log is {log}; the same command goes on from"
                    " here."
                )
            # On a large run a round costs seconds: never spend more than a fifth of the time looking.
            time.sleep(max(POLL_S, 4 * (time.monotonic() - began)))


def _look(engine: "Engine", run_id: int) -> Look:
    step = pipeline.advance(engine, run_id)
    with engine.connect() as conn:
        return Look(step, reporting.status(conn, run_id), jobs.waiting(conn), reporting.why_waiting(conn, run_id))


class _Notes:
    """The reasons why the run waits, each once two looks in a row have seen it."""

    def __init__(self, starts_worker: bool, log: Path) -> None:
        self._starts_worker, self._log = starts_worker, log
        self._before: list[str] = []

    def of(self, held: Sequence[reporting.HoldUp]) -> list[str]:
        now = [self._starting() if self._starts_worker and each.kind == "no worker" else each.sentence for each in held]
        stands = [note for note in now if note in self._before]
        self._before = now
        return stands

    def _starting(self) -> str:
        return f"The worker of this command starts; its log is {self._log}."


class _Broker:
    """Sends wake-ups, and says once that the broker is away: workers need none to go on."""

    def __init__(self, app: "Celery", shown: Screen) -> None:
        self._app, self._shown, self._away = app, shown, False

    def wake(self, due: dict[str, int]) -> None:
        try:
            for name, count in due.items():
                wake_ups.wake(self._app, name, count)
        except (*wake_ups.BROKER_ERRORS, OSError) as exc:
            if not self._away:
                why = " ".join(str(exc).split())
                self._shown.say(f"The broker takes no wake-ups ({why}). Workers go on; this tries again.")
            self._away = True
            return
        if self._away:
            self._shown.say("The broker is back.")
        self._away = False
