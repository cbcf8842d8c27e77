"""What nobody foresaw: it costs the jobs at hand an attempt, is written into their rows, and never ends a drain.

Without this a job that raises would go back to its queue unspent, and be taken again for ever.
"""

import logging
from collections.abc import Sequence

from persyn import jobs
from persyn.errors import PersynError, ServerError

log = logging.getLogger(__name__)


class Failed(Exception):
    """A stage's job cannot be done; it ends with a code like any other."""

    def __init__(self, code: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.code, self.permanent = code, permanent


def failures(job_ids: Sequence[int], exc: Exception) -> list[jobs.Failure]:
    """One failure a job, to be tried again; only what is no error of ours is logged with its traceback."""
    if isinstance(exc, Failed):
        return [jobs.Failure(job_id, exc.code, str(exc), permanent=exc.permanent) for job_id in job_ids]
    if isinstance(exc, ServerError):
        code, message = "server_start", str(exc)
    elif isinstance(exc, PersynError):
        code, message = "model_unavailable", str(exc)
    else:
        log.error("action=unforeseen jobs=%d", len(job_ids), exc_info=exc)
        code, message = "internal_error", f"{type(exc).__name__}: {exc}"
    return [jobs.Failure(job_id, code, message, permanent=False) for job_id in job_ids]
