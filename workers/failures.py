"""Turns an unexpected exception into one Failure per job, so that the drain goes on and the job's row says why.

Without this a job that raises would go back to its queue unspent, and be taken again for ever.
"""

import logging
from collections.abc import Sequence

from persyn import jobs
from persyn.errors import JobFailed, PersynError, ServerError

log = logging.getLogger(__name__)


def failures(job_ids: Sequence[int], exc: Exception) -> list[jobs.Failure]:
    """One Failure per job. Only what is no error of ours is logged with its traceback."""
    if isinstance(exc, JobFailed):
        return [jobs.Failure(job_id, exc.code, str(exc), exc.permanent, exc.retry_after_s) for job_id in job_ids]
    if isinstance(exc, ServerError):
        code, message = "server_start", str(exc)
    elif isinstance(exc, PersynError):
        code, message = "model_unavailable", str(exc)
    else:
        log.error("action=unforeseen jobs=%d", len(job_ids), exc_info=exc)
        code, message = "internal_error", f"{type(exc).__name__}: {exc}"
    return [jobs.Failure(job_id, code, message, permanent=False) for job_id in job_ids]
