"""Each kind of error becomes a failure that says what it was."""

import pytest

from persyn.errors import MissingExtra, ServerError
from persyn.workers.failures import failures


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ServerError("It exited."), "server_start", "It exited."),
        (MissingExtra("Install it."), "model_unavailable", "Install it."),
        # a bug, or a library's own error: the type tells more than the text
        (KeyError("role"), "internal_error", "KeyError: 'role'"),
    ],
)
def test_an_error_becomes_one_failure_a_job_that_is_tried_again(error: Exception, code: str, message: str) -> None:
    found = failures([1, 2], error)
    assert [(failure.job_id, failure.code, failure.message, failure.permanent) for failure in found] == [
        (1, code, message, False),
        (2, code, message, False),
    ]
