"""Reaps dead leases, advances the runs and tops the queues up (protocol steps 4 and 5), in every worker.

There is no scheduler process that could die: each worker does this every few seconds and after each drain. Locks in the
database make sure that two at once do no harm.
"""

import logging
import threading
import time
from collections.abc import Callable

from celery import Celery
from celery.worker.consumer import Consumer

from persyn import counters, jobs, logs, runs, versions
from persyn.db import session
from persyn.errors import PersynError
from persyn.jobs import wake_ups
from persyn.stages import pipeline
from persyn.text import reason
from persyn.workers.check_in import SAY_EVERY_S, CheckIn
from persyn.workers.worker import Worker

log = logging.getLogger(__name__)

RECONCILE_S = 15.0


def reconcile(worker: Worker, app: Celery) -> None:
    """Do one round. It acts on the tables alone, so the next round makes up for one that fails."""
    with worker.engine.begin() as conn:
        released = jobs.reap(conn)
    with worker.engine.begin() as conn:
        jobs.fold_counts(conn)
    if released:
        log.warning("action=reap jobs=%d", released)
    # First: a run that cannot be looked at must keep no other from its workers.
    _wake(worker, app)
    with worker.engine.connect() as conn:
        open_runs = runs.open_run_ids(conn)
    if sum(_advance(worker, run_id) for run_id in open_runs):
        _wake(worker, app)


def _advance(worker: Worker, run_id: int) -> int:
    """Look at one run; returns how many jobs are new. An error stands in the run's row, and costs no other run."""
    with logs.about(run=run_id):
        return _look(worker, run_id)


def _look(worker: Worker, run_id: int) -> int:
    try:
        progress = pipeline.advance(worker.engine, run_id)
    except Exception as exc:
        why = reason(exc) if not isinstance(exc, session.DatabaseError) else session.in_one_line(exc)
        with worker.engine.begin() as conn:  # raises where the database itself is away
            is_new = runs.note_failed_look(conn, run_id, why)
        if is_new:  # once: each round would write the same
            log.warning("action=advance error=%s", why, exc_info=not isinstance(exc, PersynError))
        return 0
    if progress.new_jobs:
        log.info("action=advance new_jobs=%d", progress.new_jobs)
    if progress.blocked:
        log.warning("action=advance blocked=%s", progress.blocked)
    return progress.new_jobs


def _wake(worker: Worker, app: Celery) -> None:
    with worker.engine.connect() as conn:
        due = jobs.waiting(conn)
    for name, count in due.items():
        counters.WAKE_UPS.labels(name).inc(wake_ups.wake(app, name, count))


class Maintenance(threading.Thread):
    """Reconciles every few seconds until the worker stops, and at once where `ask` was called."""

    def __init__(
        self, worker: Worker, app: Celery, check_in: CheckIn, drain: Callable[[], None], *, follow_teachers: bool
    ) -> None:
        super().__init__(name="maintenance", daemon=True)
        self._drain = drain
        self._worker, self._app, self._check_in, self._follow = worker, app, check_in, follow_teachers
        self._asked = threading.Event()
        self._consumer: Consumer | None = None

    def start_with(self, consumer: Consumer) -> None:
        """Begin, now that this worker's own Celery consumer is up."""
        self._consumer = consumer
        self.start()

    def ask(self) -> None:
        """Reconcile at once."""
        self._asked.set()

    def run(self) -> None:
        self._try("begin", self._check_in.begin)
        reconciled_at = -RECONCILE_S
        while not self._worker.stopping.is_set():
            self._worker.turned_at = time.monotonic()
            asked = self._asked.is_set()
            self._asked.clear()
            self._try("say", self._check_in.say)
            if asked or time.monotonic() - reconciled_at >= RECONCILE_S:
                self._try("reconcile", self._round)
                if not asked:
                    self._try("drain", self._drain_unasked)
                reconciled_at = time.monotonic()
            self._asked.wait(SAY_EVERY_S)

    def _round(self) -> None:
        if self._follow:
            self._subscribe()
        reconcile(self._worker, self._app)

    def _drain_unasked(self) -> None:
        """Drain if there is work and no wake-up came: the broker may be away, or the wake-ups lost.

        Not after each drain, so that a queue that gives nothing is not asked without a pause. It takes a thread of the
        wake-ups' own drains, and only where none of them works.
        """
        assert self._consumer is not None, "maintenance starts when the consumer is ready"
        if not self._worker.drained() and not self._worker.leaving():
            self._consumer.pool.apply_async(self._drain, callback=lambda _: None)

    def _try(self, name: str, act: Callable[[], None]) -> None:
        """Log a failure and go on: the next round makes up for it. Only an unforeseen error keeps its traceback.

        While a server is away every round fails, so that is one line a round.
        """
        try:
            act()
        except (PersynError, OSError) as exc:
            log.warning("action=%s error=%s", name, exc)
        except wake_ups.BROKER_ERRORS as exc:
            where = self._app.connection_for_write().as_uri()
            self._away(name, "broker", where, session.in_one_line(exc))
        except session.DatabaseError as exc:
            if not session.is_away(exc):
                log.exception("action=%s", name)
                return
            where = self._worker.engine.url.render_as_string(hide_password=True)
            self._away(name, "database", where, session.in_one_line(exc))
        except Exception:
            log.exception("action=%s", name)

    @staticmethod
    def _away(name: str, what: str, where: str, why: str) -> None:
        again_s = SAY_EVERY_S if name == "say" else RECONCILE_S
        log.warning("action=%s the %s at %s is away: %s; tried again within %.0f s", name, what, where, why, again_s)

    def _subscribe(self) -> None:
        """Listen to the teachers that came since the worker started, where it serves all.

        The consumer is told directly: a remote-control message would be lost where it is not subscribed at this moment.
        """
        assert self._consumer is not None, "maintenance starts when the consumer is ready"
        with self._worker.engine.connect() as conn:
            names = versions.teacher_names(conn)
        for name in names:  # each round: a queue that it listens to already changes nothing
            self._consumer.call_soon(self._consumer.add_task_queue, wake_ups.teacher_queue(name))
        self._check_in.queues = sorted({*self._check_in.queues, *map(wake_ups.teacher_queue, names)})
