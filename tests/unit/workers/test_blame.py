"""Whose fault an error is, and what it costs the jobs that met it."""

import errno

import pytest
from sqlalchemy.exc import DataError, OperationalError

from persyn.errors import (
    ConfigError,
    EndpointPaused,
    JobFailed,
    LeaseLost,
    MissingExtra,
    ModelError,
    RequestFailed,
    ServerError,
)
from persyn.workers.blame import Fault, blame, charged, failures, same_fault


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


class TooLarge(Exception):
    """As the driver says that a statement is beyond the server's limits."""

    sqlstate = "54000"


SQL = "INSERT INTO generation VALUES ('a secret text')"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (RequestFailed("garbage", "no", permanent=False), Fault.JOB),
        (EndpointPaused("down", 5.0), Fault.ENDPOINT),
        (ConfigError("The key is not set."), Fault.HOST),
        (MissingExtra("Install it."), Fault.HOST),
        (ModelError("No such folder."), Fault.HOST),
        (ServerError("It exited."), Fault.HOST),
        (ModuleNotFoundError("No module named 'torch'"), Fault.HOST),
        (MemoryError(), Fault.HOST),
        (OutOfMemoryError("CUDA out of memory"), Fault.HOST),
        (RuntimeError("CUDA error: device-side assert"), Fault.HOST),
        (OSError(errno.ENOSPC, "No space left on device"), Fault.HOST),
        (PermissionError(errno.EACCES, "Permission denied"), Fault.HOST),
        (FileNotFoundError(errno.ENOENT, "No such file"), Fault.UNFORESEEN),
        (LeaseLost("gone"), Fault.NOBODY),
        (OperationalError(SQL, {}, Exception("the server closed the connection")), Fault.NOBODY),
        (OperationalError(SQL, {}, TooLarge("more than 1 GB")), Fault.UNFORESEEN),
        (DataError(SQL, {}, Exception("out of range")), Fault.UNFORESEEN),
        (KeyError("role"), Fault.UNFORESEEN),
    ],
)
def test_each_kind_of_error_has_one_to_blame(error: Exception, fault: Fault) -> None:
    assert blame(error) is fault
    assert (charged(error) is not None) == (fault is Fault.UNFORESEEN)


def test_what_a_drain_leaves_behind_names_the_drivers_words_and_never_the_statement() -> None:
    code, message = charged(DataError(SQL, {"text": "a secret text"}, Exception("out of range"))) or ("", "")
    assert (code, message) == ("internal_error", "DataError: out of range")


@pytest.mark.parametrize(
    ("error", "code", "message", "permanent"),
    [
        (JobFailed("no_router", "Train it.", permanent=True), "no_router", "Train it.", True),
        # a bug, or a library's own error: the type tells more than the text
        (KeyError("role"), "internal_error", "KeyError: 'role'", False),
    ],
)
def test_an_error_of_the_jobs_becomes_one_failure_each(
    error: Exception, code: str, message: str, permanent: bool
) -> None:
    found = failures([1, 2], error)
    assert [(each.job_id, each.code, each.message, each.permanent) for each in found] == [
        (1, code, message, permanent),
        (2, code, message, permanent),
    ]


def test_what_all_answers_of_a_batch_meet_is_no_answers_fault() -> None:
    full = [JobFailed("scoring_failed", "out of memory", permanent=True)] * 3
    assert same_fault(full, succeeded=0) is full[0]
    assert same_fault(full, succeeded=1) is None
    assert same_fault(full[:1], succeeded=0) is None, "one alone may be to blame"
    assert same_fault([*full, JobFailed("context_too_long", "long", permanent=True)], succeeded=0) is None
