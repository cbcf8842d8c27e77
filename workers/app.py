"""The Celery worker: one thread that drains one queue at a time, as the settings in persyn/jobs/wake_ups.py say.

The pool is a thread and not a fork, because a forked child may not start the model server's processes.
"""

import logging
import os
import signal
import time
from typing import Any

from celery import Celery, signals
from celery.worker.consumer import Consumer

from persyn import counters
from persyn.db import session
from persyn.errors import LeaseLost, PersynError
from persyn.inference.clients.pace import TeacherPaused
from persyn.jobs import wake_ups
from workers.check_in import Presence
from workers.generate import drain_teacher
from workers.maintenance import Maintenance
from workers.router import drain_router
from workers.score import drain_scores
from workers.worker import Host

log = logging.getLogger(__name__)

# Whoever stops a whole process group may reach a process twice at once; that is not a second, impatient signal.
SAME_SIGNAL_S = 1.0


def drain(host: Host, name: str) -> None:
    """Empty one queue. What goes wrong is logged and left to the next wake-up; the jobs' rows keep the reasons."""
    try:
        if wake_ups.teacher_of(name) is not None:
            drain_teacher(host, name)
        elif name == wake_ups.ROUTER:
            drain_router(host, name)
        else:
            drain_scores(host, name)
    except TeacherPaused as exc:
        host.pause(name, exc)
    except LeaseLost as exc:
        log.warning("action=drain queue=%s %s", name, exc)
    except PersynError as exc:
        log.error("action=drain queue=%s %s", name, exc)


def drain_next(host: Host, presence: Presence) -> None:
    """What a wake-up of any queue leads to: wake-ups come in no order, so the worker itself looks what is best next.

    The database may go away at any point of it, before there is a queue to speak of.
    """
    chosen = None
    try:
        chosen = host.next_queue()
        if chosen is not None:
            log.info("action=drain queue=%s", chosen)
            counters.DRAINS.labels(chosen).inc()
            presence.queue = chosen
            drain(host, chosen)
    except session.DatabaseError as exc:
        if not session.is_away(exc):
            log.exception("action=drain queue=%s", chosen)
            return
        why = session.in_one_line(exc)
        log.warning("action=drain queue=%s the database went away; what was held goes back: %s", chosen, why)


def serve(host: Host, broker_url: str, queues: list[str], *, follow_teachers: bool) -> int:
    """Run until SIGTERM or SIGINT; what is unfinished then goes back to its queue at once."""
    app = wake_ups.application(broker_url)
    presence = Presence(host, queues)
    maintenance = Maintenance(host, app, presence, follow_teachers=follow_teachers)

    @app.task(name=wake_ups.DRAIN)  # type: ignore[untyped-decorator]
    def _drain(_woken: str) -> None:
        if host.draining.is_set():
            return  # others are woken for it within a round
        try:
            drain_next(host, presence)
        finally:
            presence.queue = None
            maintenance.ask()

    def _ready(sender: Consumer, **_: Any) -> None:
        maintenance.start_with(sender)

    stop = Stop(host, maintenance)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_ready.connect(_ready, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    try:
        _run(app, host, queues)
    finally:
        host.stopping.set()
        _say_goodbye(presence)
        host.close()
    return 0


class Stop:
    """What a signal does: the first hands back what is unfinished; a second one ends the process where it stands.

    Then the jobs come back when the lease runs out, and the model server's guardian stops the server.
    """

    def __init__(self, host: Host, maintenance: Maintenance) -> None:
        self._host, self._maintenance = host, maintenance
        self._first_at: float | None = None

    def __call__(self, **_: Any) -> None:
        now = time.monotonic()
        if self._first_at is not None and now - self._first_at > SAME_SIGNAL_S:
            os._exit(128 + signal.SIGTERM)
        self._first_at = self._first_at or now
        self._host.stopping.set()
        self._maintenance.ask()


def _keep_logging(**_: Any) -> None:
    """Celery's own set-up would hide our log lines."""


def _say_goodbye(presence: Presence) -> None:
    try:
        presence.end()
    except Exception as exc:  # the database may be what is down
        log.warning("action=stop error=%s", exc)


def _run(app: Celery, host: Host, queues: list[str]) -> None:
    app.worker_main(
        [
            "worker", "--pool=threads", "--concurrency=1", f"--hostname={host.worker_node}",
            "--without-mingle", "--without-gossip", "--loglevel=WARNING", f"--queues={','.join(queues)}",
        ]
    )  # fmt: skip
