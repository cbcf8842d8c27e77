"""The Celery worker: a few threads that drain a queue each, as the settings in persyn/jobs/wake_ups.py say.

One of them works on this host, with the model that it keeps loaded; the others ask endpoints. The pool is of threads
and not of forks, because a forked child may not start the model server's processes.
"""

import logging
import os
import signal
import time
from typing import Any

from celery import Celery, signals
from celery.apps import worker as celery_worker
from celery.worker.consumer import Consumer

from persyn import counters
from persyn.errors import LeaseLost
from persyn.jobs import wake_ups
from persyn.workers.blame import Fault, blame, explained
from persyn.workers.check_in import CheckIn, Leave
from persyn.workers.fitness import Need
from persyn.workers.generate import drain_teacher
from persyn.workers.maintenance import Maintenance
from persyn.workers.router import drain_router
from persyn.workers.score import drain_scores
from persyn.workers.train import drain_trainings
from persyn.workers.worker import ASIDE, Worker

log = logging.getLogger(__name__)

# A stop of the whole process group may reach this process twice at once; that is not a second, impatient signal.
SAME_SIGNAL_S = 1.0


def drain(worker: Worker, name: str) -> None:
    """Empty one queue. Raises whatever is no lost lease."""
    try:
        if wake_ups.teacher_of(name) is not None:
            drain_teacher(worker, name)
        elif name == wake_ups.ROUTER:
            drain_router(worker, name)
        elif name == wake_ups.TRAIN:
            drain_trainings(worker, name)
        else:
            drain_scores(worker, name)
    except LeaseLost as exc:
        log.warning("action=drain queue=%s %s", name, exc)


def drain_next(worker: Worker) -> bool:
    """Drain the queue that is best next, whichever queue the wake-up was for: wake-ups come in no order.

    Returns whether there was one. The database may go away at any point, even before a queue is chosen. A queue whose
    drain ends by an error that nobody foresaw is left alone for a while, so that the others get their turn.
    """
    chosen = None
    try:
        chosen = worker.take_queue()
        if chosen is not None:
            log.info("action=drain queue=%s", chosen)
            counters.DRAINS.labels(chosen).inc()
            drain(worker, chosen)
            worker.is_fit([Need(chosen)])
    except Exception as exc:
        if blame(exc) is Fault.NOBODY:
            why = explained(exc)
            log.warning("action=drain queue=%s the database went away; what was held goes back: %s", chosen, why)
            return chosen is not None
        log.exception("action=drain queue=%s", chosen)
        if chosen is not None:
            worker.is_unfit([Need(chosen)], exc)
    finally:
        if chosen is not None:
            worker.leave_queue(chosen)
    return chosen is not None


def serve(worker: Worker, broker_url: str, queues: list[str], *, follow_teachers: bool, leave: Leave) -> int:
    """Run until SIGTERM or SIGINT; what is unfinished then goes back to its queue at once."""
    with worker.engine.connect() as conn:
        deployment = wake_ups.deployment(conn)
    app = wake_ups.application(broker_url, deployment)
    check_in = CheckIn(worker, queues, leave)

    def _drain() -> None:
        if worker.draining.is_set():
            return  # others are woken for it within a round
        if drain_next(worker):
            maintenance.ask()

    maintenance = Maintenance(worker, app, check_in, _drain, follow_teachers=follow_teachers)

    @app.task(name=wake_ups.DRAIN)  # type: ignore[untyped-decorator]
    def _woken(_queue: str) -> None:
        _drain()

    def _ready(sender: Consumer, **_: Any) -> None:
        maintenance.start_with(sender)

    stop = Stop(worker, maintenance)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_ready.connect(_ready, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    try:
        _run(app, f"persyn-{deployment}-{worker.name.rpartition(':')[2]}@{worker.host}", queues)
    finally:
        worker.stopping.set()
        log.info("action=stop this worker leaves")
        _say_goodbye(check_in)
        worker.close()
    return 0


class Stop:
    """Ends the worker: the first signal hands back what is unfinished, a second one ends the process where it stands.

    After a second signal the jobs come back when the lease runs out, and the guardian stops the model server.
    """

    def __init__(self, worker: Worker, maintenance: Maintenance) -> None:
        self._worker, self._maintenance = worker, maintenance
        self._first_at: float | None = None

    def __call__(self, **_: Any) -> None:
        now = time.monotonic()
        if self._first_at is not None and now - self._first_at > SAME_SIGNAL_S:
            os._exit(128 + signal.SIGTERM)
        self._first_at = self._first_at or now
        self._worker.stopping.set()
        self._maintenance.ask()


def _keep_logging(**_: Any) -> None:
    """Keep our logging: Celery's own set-up would hide our log lines."""


def _say_nothing(*_: Any) -> None:
    """In place of Celery's words about a signal, which pass by the log."""


def _say_goodbye(check_in: CheckIn) -> None:
    try:
        check_in.end()
    except Exception as exc:  # the database may be what is down
        log.warning("action=stop error=%s", exc)


def _run(app: Celery, node: str, queues: list[str]) -> None:
    celery_worker.safe_say = _say_nothing
    app.worker_main(
        [
            "--quiet", "worker", "--pool=threads", f"--concurrency={1 + ASIDE}", f"--hostname={node}",
            "--without-mingle", "--without-gossip", "--loglevel=WARNING", f"--queues={','.join(queues)}",
        ]
    )  # fmt: skip
