"""When a worker leaves by itself."""

from pathlib import Path

import pytest

from persyn.db import session
from persyn.workers.check_in import CheckIn, Leave
from persyn.workers.worker import Worker


@pytest.mark.parametrize(
    ("leave", "queue", "leaves"),
    [
        (Leave(), None, False),
        (Leave(idle_s=0), None, True),
        (Leave(idle_s=0), "teacher.t", False),
        (Leave(idle_s=3600), None, False),
        (Leave(after_s=0), "teacher.t", True),  # it finishes what it holds
        (Leave(after_s=3600), None, False),
    ],
)
def test_a_worker_leaves_when_it_is_idle_or_its_time_is_over(
    tmp_path: Path, leave: Leave, queue: str | None, leaves: bool
) -> None:
    worker = Worker(session.connect("postgresql://persyn@127.0.0.1:1/persyn"), tmp_path)
    check_in = CheckIn(worker, [], leave)
    if queue is not None:
        worker._drained[queue] = False
    check_in._leave_in_time()
    assert worker.draining.is_set() == leaves
