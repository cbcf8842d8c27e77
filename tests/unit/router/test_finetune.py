"""`router.finetune`: a training that was killed ends as one that was not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from persyn import processes
from persyn.router.artifact import WEIGHTS
from tests.unit.router import resume_process
from tests.unit.router.resume_process import learn


@contextmanager
def half_way(backbone: str, folder: Path, name: str, *, steps: int, trainers: int = 1) -> Iterator[list[int]]:
    """A training in a process of its own that holds still after these steps; killed in the end. Yields its children."""
    command = [sys.executable, "-m", resume_process.__name__, backbone, str(folder), name, str(steps)]
    environment = os.environ | {"PERSYN_TRAIN_PROCESSES": str(trainers), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as victim:
        assert victim.stdout is not None
        assert next(victim.stdout) == "still\n"
        yield processes.descendants(victim.pid)
        victim.kill()
    assert not (folder / name).exists()


def weights(folder: Path, name: str) -> dict[str, NDArray[np.float32]]:
    return dict(load_file(folder / name / WEIGHTS))


@pytest.mark.slow  # starts a process of its own
def test_a_training_that_was_killed_goes_on_to_the_very_same_router(encoder: str, tmp_path: Path) -> None:
    whole = learn(encoder, tmp_path, "whole")
    with half_way(encoder, tmp_path, "killed", steps=22):  # in the second epoch, two steps after a checkpoint
        pass
    resumed = learn(encoder, tmp_path, "killed")
    assert len(resumed.steps) == len(whole.steps) - 20  # it did not begin again
    assert resumed.epochs == whole.epochs
    one, other = weights(tmp_path, "whole"), weights(tmp_path, "killed")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow  # starts processes of its own
def test_two_processes_train_the_router_of_one_also_when_they_are_killed(
    causal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = learn(causal, tmp_path, "alone")
    with half_way(causal, tmp_path, "together", steps=4, trainers=2) as trainers:
        assert len(trainers) >= 2
    for trainer in trainers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while any(map(processes.start_time, trainers)):
        assert time.monotonic() < deadline, "they train on for nobody"
        time.sleep(0.05)

    monkeypatch.setenv("PERSYN_TRAIN_PROCESSES", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    together = learn(causal, tmp_path, "together")
    assert 0 < len(together.steps) < len(alone.steps)  # it did not begin again
    np.testing.assert_allclose(together.epochs, alone.epochs, rtol=1e-5)
    one, other = weights(tmp_path, "alone"), weights(tmp_path, "together")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-5, err_msg=name)
