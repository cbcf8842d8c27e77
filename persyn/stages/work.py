"""The narrow view of a worker that a stage's work gets."""

import threading
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from persyn import jobs
from persyn.inference.warm_model import WarmModel
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.runs import Run


class Work(NamedTuple):
    """One claimed job of a run, and what it may use."""

    engine: Engine
    home: Path  # the folder of routers, converted models and logs
    lease: LeaseKeeper  # beaten as the work moves; beating raises LeaseLost once the job is another's
    run: Run
    claim: jobs.Claim
    warm: WarmModel  # keeps the router between the jobs of a run
    stopping: threading.Event  # once set, the work ends and leaves its job unfinished
