"""Drains the router queue: the jobs that train a run's router and route its prompts, one at a time."""

from persyn import jobs, runs
from persyn.errors import LeaseLost
from persyn.jobs.wake_ups import ROUTER
from persyn.stages import route, train
from persyn.stages.work import Work
from persyn.workers.failures import failures
from persyn.workers.worker import Worker

PERFORM = {"train_router": train.perform, "route": route.perform}


def drain_router(worker: Worker, queue: str = ROUTER) -> None:
    """Do the queue's due jobs until none is left. Raises LeaseLost, ModelError."""
    while not worker.leaving():
        with worker.lease(queue) as lease:
            with worker.engine.begin() as conn:
                claims = jobs.claim(conn, lease.id, queue, 1)
                run = runs.load(conn, claims[0].run_id) if claims else None
            if run is None:
                return
            try:
                work = Work(worker.engine, worker.home, lease, run, claims[0], worker.stopping)
                PERFORM[claims[0].kind](work)
            except LeaseLost:
                raise
            except Exception as exc:
                with worker.engine.begin() as conn:
                    jobs.fail(conn, lease.id, failures([claims[0].id], exc))
