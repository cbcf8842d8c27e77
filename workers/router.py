"""Drains the router queue: the jobs that train a run's router and route its prompts, once or again, one at a time."""

from persyn.jobs.wake_ups import ROUTER
from persyn.stages import reroute, route, train
from persyn.workers.singly import drain_singly
from persyn.workers.worker import Worker

PERFORM = {"train_router": train.perform, "route": route.perform, "reroute": reroute.perform}


def drain_router(worker: Worker, queue: str = ROUTER) -> None:
    """Do the queue's due jobs until none is left that this host can do, or others must come first. Raises LeaseLost."""
    drain_singly(worker, queue, lambda work: PERFORM[work.claim.kind](work))
