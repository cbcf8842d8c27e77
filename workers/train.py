"""Drains the train queue: the jobs that train students, one at a time and with nothing else on this host's GPU."""

from persyn.jobs.wake_ups import TRAIN
from persyn.stages import train_student
from persyn.stages.work import Work
from persyn.workers.singly import drain_singly
from persyn.workers.worker import Worker


def drain_trainings(worker: Worker, queue: str = TRAIN) -> None:
    """Do the queue's due jobs until none is left that this host can do. Raises LeaseLost."""

    def perform(work: Work) -> None:
        worker.warm.drop()
        worker.model_server.free_gpu()
        train_student.perform(work)

    drain_singly(worker, queue, perform)
