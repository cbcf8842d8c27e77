"""Writes every few seconds what this worker does into the `worker` table, and reads there whether it shall leave.

Leaving has two speeds. Asked to drain, it claims nothing more, finishes what it holds, and ends by itself; when its
grace is over, or on SIGTERM, it hands back what is unfinished at once.
"""

import logging
import os
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from persyn import counters
from persyn.jobs import workers
from persyn.jobs.wake_ups import teacher_of
from persyn.workers.worker import Worker

log = logging.getLogger(__name__)

SAY_EVERY_S = 5.0
# Answers are stored in batches: over a shorter time the rate would jump between nothing and much.
RATE_OVER_S = 30.0


class Leave(NamedTuple):
    """When a worker leaves by itself, in seconds: after so long without work, and so long after its start."""

    idle_s: float | None = None
    after_s: float | None = None


class CheckIn:
    """This worker's row."""

    def __init__(self, worker: Worker, queues: Sequence[str], leave: Leave = Leave()) -> None:
        self._worker, self._leave = worker, leave
        self.queues = list(queues)
        self._started_at = time.monotonic()
        self._totals: list[tuple[float, float]] = []

    def begin(self) -> None:
        """Make the row."""
        with self._worker.engine.begin() as conn:
            workers.started(conn, self._worker.name, host=self._worker.host, pid=os.getpid(), queues=self.queues)

    def say(self) -> None:
        """Describe the worker, and begin to leave where an operator asked for it."""
        self._leave_in_time()
        self._worker.look_at_host()
        drained = self._worker.drained()
        teacher = teacher_of(drained[0]) if len(drained) == 1 else None
        rate = self._rate() if drained else None
        unfit = self._worker.fitness.report(time.monotonic())
        status = workers.WorkerStatus(self.queues, ", ".join(drained) or None, teacher, rate, unfit)
        with self._worker.engine.begin() as conn:
            leave, at_once = workers.seen(conn, self._worker.name, status)
        if leave and not self._worker.draining.is_set():
            log.info("action=drain_worker an operator asked for it; what is in flight is finished")
            self._worker.draining.set()
        if self._worker.draining.is_set() and (at_once or not self._worker.drained()):
            os.kill(os.getpid(), signal.SIGTERM)

    def _leave_in_time(self) -> None:
        now, (idle_s, after_s) = time.monotonic(), self._leave
        idle = idle_s is not None and not self._worker.drained() and now - self._worker.busy_at >= idle_s
        over = after_s is not None and now - self._started_at >= after_s
        if (idle or over) and not self._worker.draining.is_set():
            log.info("action=leave %s", "there was no work for so long" if idle else "its time is over")
            self._worker.draining.set()

    def end(self) -> None:
        """Note that the worker has left."""
        with self._worker.engine.begin() as conn:
            workers.stopped(conn, self._worker.name)

    def _rate(self) -> float | None:
        """Tokens a second over the last RATE_OVER_S; None within the first second."""
        now = time.monotonic()
        self._totals = [(at, total) for at, total in self._totals if now - at <= RATE_OVER_S]
        self._totals.append((now, counters.completion_tokens()))
        (first_at, first), (last_at, last) = self._totals[0], self._totals[-1]
        return (last - first) / (last_at - first_at) if last_at - first_at >= 1.0 else None
