"""Does the jobs of a queue one at a time, each under a lease of its own: those that are a run's as a whole."""

import logging
from collections.abc import Callable

from persyn import jobs, logs, runs
from persyn.stages.work import Work
from persyn.workers.blame import Fault, blame, explained, failures
from persyn.workers.fitness import Need
from persyn.workers.worker import Worker

log = logging.getLogger(__name__)

# A claim gives the lease an hour; a router or a student may train for days, and beats all the while.
DEADLINE_S = 7 * 86_400.0


def drain_singly(worker: Worker, queue: str, perform: Callable[[Work], None]) -> None:
    """Do the queue's due jobs until none is left that this host can do, or others must come first. Raises LeaseLost."""
    while not worker.leaving():
        with worker.engine.connect() as conn:
            group = worker.next_group(conn, queue)
            run = None if group is None else runs.load(conn, group.run_id)
        if run is None:
            return
        with worker.lease(queue) as lease:
            with worker.engine.begin() as conn:
                claims = jobs.claim(conn, lease.id, queue, 1, run_id=run.id, deadline_s=DEADLINE_S)
            for claim in claims:
                work = Work(worker.engine, worker.home, lease, run, claim, worker.warm, worker.stopping)
                with logs.about(run=run.id, job=claim.id):
                    _do(worker, Need(queue, run_id=run.id), work, perform)
        if worker.must_yield(queue):
            log.info("action=yield queue=%s others must come first", queue)
            return


def _do(worker: Worker, need: Need, work: Work, perform: Callable[[Work], None]) -> None:
    """One job; what is no fault of its own leaves it to be handed back with the lease. Raises LeaseLost."""
    try:
        perform(work)
        worker.is_fit([need])
    except Exception as exc:
        match blame(exc):
            case Fault.HOST:
                worker.is_unfit([need], exc)
            case Fault.JOB | Fault.UNFORESEEN:
                log.warning("action=fail queue=%s %s", need.queue, explained(exc))
                with worker.engine.begin() as conn:
                    jobs.fail(conn, work.lease.id, failures([work.claim.id], exc))
            case _:
                raise
