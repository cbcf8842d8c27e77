"""NumPy's own threads: a worker computes its small matrices with one."""

import subprocess
import sys

import pytest

COUNT = """
import persyn.workers.app, os
import numpy
square = numpy.ones((700, 700))
square @ square
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.slow  # starts an interpreter with all that a worker loads
def test_a_worker_multiplies_matrices_in_one_thread_unless_told_otherwise() -> None:
    assert subprocess.check_output([sys.executable, "-c", COUNT], text=True).strip() == "1"
