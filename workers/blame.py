"""Decides whose fault an error is that ended a piece of work, and what follows for its jobs.

The prompt's costs its job an attempt; an endpoint's or an account's holds the queue back; a host's makes this worker
unfit for the work, and others do it. Whether the prompt or its endpoint is to blame for a failed request was told
before, by what happened to other requests meanwhile (`persyn.inference.clients.evidence`).
"""

import errno
import logging
from collections.abc import Sequence
from enum import Enum

from persyn import jobs, logs
from persyn.db import session
from persyn.errors import (
    EndpointPaused,
    JobFailed,
    LeaseLost,
    PersynError,
)

log = logging.getLogger(__name__)

# Disk, memory, descriptors, rights: nothing of these is in a prompt.
_OUT_OF_SOMETHING = frozenset(
    (
        errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EACCES, errno.EPERM,
        errno.EIO,
    )
)  # fmt: skip
_MEMORY = ("OutOfMemoryError", "AcceleratorError")  # torch's, by their names: no drain loads torch for this


class Fault(Enum):
    """Whose fault an error is."""

    JOB = "the job's: it costs an attempt, or ends the job"
    ENDPOINT = "an endpoint's or an account's: its queue is held back, and no attempt is spent"
    HOST = "this host's: the worker is unfit for this work, and no attempt is spent"
    NOBODY = "the database's or the lease's: what was held goes back"
    UNFORESEEN = "a bug's: it costs what was held an attempt, and the worker leaves the queue alone for a while"


def blame(exc: BaseException) -> Fault:
    """Whose fault an error is."""
    match exc:
        case JobFailed():
            return Fault.JOB
        case EndpointPaused():
            return Fault.ENDPOINT
        case LeaseLost():
            return Fault.NOBODY
        case PersynError():  # a key, a model, a server, a package
            return Fault.HOST
        case ImportError() | MemoryError():
            return Fault.HOST
        case OSError() if exc.errno in _OUT_OF_SOMETHING:
            return Fault.HOST
        case session.DatabaseError() if session.is_away(exc):
            return Fault.NOBODY
    of_the_gpu = type(exc).__name__ in _MEMORY or str(exc).startswith("CUDA error")
    return Fault.HOST if of_the_gpu else Fault.UNFORESEEN


def explained(exc: BaseException) -> str:
    """The error as one line for a row or the log: the driver's own words where the database raised it."""
    if isinstance(exc, PersynError):
        return str(exc)
    if isinstance(exc, ModuleNotFoundError):
        extra = "students" if exc.name in ("trl", "peft", "datasets") else "train"
        return f"{exc.name} is not installed on this host; `pip install 'persyn[{extra}]'` brings what models need"
    return f"{type(exc).__name__}: {session.in_one_line(exc)}"


def charged(exc: BaseException) -> tuple[str, str] | None:
    """The code and message that an error costs the jobs that were held when it ended their drain; None: nothing."""
    return ("internal_error", explained(exc)) if blame(exc) is Fault.UNFORESEEN else None


def failures(job_ids: Sequence[int], exc: Exception) -> list[jobs.Failure]:
    """One Failure for each of the jobs that an error was the fault of, so that their rows say why.

    Only what is no error of ours is logged with its traceback.
    """
    if isinstance(exc, JobFailed):
        return [jobs.Failure(job_id, exc.code, str(exc), exc.permanent, exc.retry_after_s) for job_id in job_ids]
    log.error("action=unforeseen jobs=%d", len(job_ids), exc_info=exc)
    return [jobs.Failure(job_id, "internal_error", explained(exc), permanent=False) for job_id in job_ids]


def told(claim: jobs.Claim, exc: Exception) -> list[jobs.Failure]:
    """The Failure of one job, which gets a line in the log."""
    with logs.about(run=claim.run_id, job=claim.id):
        log.info("action=fail attempt=%d %s", claim.attempt, explained(exc))
        return failures([claim.id], exc)


def same_fault(errors: Sequence[Exception], succeeded: int) -> Exception | None:
    """The error that all of a batch met: not the answers' fault but the host's. None where some were scored."""
    alike = {exc.code for exc in errors if isinstance(exc, JobFailed)}
    return errors[0] if len(errors) > 1 and not succeeded and alike == {"scoring_failed"} else None
