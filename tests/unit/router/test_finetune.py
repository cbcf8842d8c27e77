"""`router.finetune`: a training that was killed ends as one that was not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from persyn import processes
from persyn.router.artifact import WEIGHTS
from tests.unit.router import resume_process


def start(backbone: str, folder: Path, name: str, trainers: int = 1) -> "subprocess.Popen[str]":
    arguments = [backbone, str(folder / f"{name}.checkpoint"), str(folder / name)]
    command = [sys.executable, "-m", resume_process.__name__, *arguments]
    environment = os.environ | {"PERSYN_TRAIN_PROCESSES": str(trainers), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


@pytest.mark.slow  # starts processes of its own
def test_a_training_that_was_killed_goes_on_to_the_very_same_router(encoder: str, tmp_path: Path) -> None:
    whole, _ = start(encoder, tmp_path, "whole").communicate()
    victim = start(encoder, tmp_path, "killed")
    assert victim.stdout is not None
    seen = [next(victim.stdout) for _ in range(12)]  # in the second epoch, one step after a checkpoint
    victim.kill()
    victim.wait()
    victim.stdout.close()
    assert not (tmp_path / "killed").exists()
    resumed, _ = start(encoder, tmp_path, "killed").communicate()
    steps = whole.count("step")
    assert len(seen) < steps
    assert resumed.count("step") < steps  # it did not begin again
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert whole.splitlines()[-1] == resumed.splitlines()[-1]


def losses(output: str) -> list[list[float]]:
    return [[float(word) for word in line.split()[1:]] for line in output.splitlines() if line.startswith("epoch")]


@pytest.mark.slow  # starts processes of its own
def test_two_processes_train_the_router_of_one_also_when_they_are_killed(causal: str, tmp_path: Path) -> None:
    alone, _ = start(causal, tmp_path, "alone").communicate()
    victim = start(causal, tmp_path, "together", trainers=2)
    assert victim.stdout is not None
    seen = [line for line in (next(victim.stdout) for _ in range(12)) if line.startswith("step")]
    trainers = processes.descendants(victim.pid)
    assert len(trainers) >= 2
    victim.kill()
    victim.wait()
    victim.stdout.close()
    deadline = time.monotonic() + 60
    while any(map(processes.start_time, trainers)):
        assert time.monotonic() < deadline, "they train on for nobody"
        time.sleep(0.05)
    assert not (tmp_path / "together").exists()

    together, _ = start(causal, tmp_path, "together", trainers=2).communicate()
    assert len(seen) + together.count("step") < 2 * alone.count("step")  # it did not begin again
    assert len(losses(together)) > 2
    np.testing.assert_allclose(losses(together), losses(alone), rtol=1e-5)
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("alone", "together"))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-5, err_msg=name)
