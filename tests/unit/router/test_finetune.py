"""`router.finetune`: a training that was killed ends as one that was not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from persyn.router.artifact import WEIGHTS
from tests.unit.router import resume_process


def start(backbone: str, folder: Path, name: str) -> "subprocess.Popen[str]":
    arguments = [backbone, str(folder / f"{name}.checkpoint"), str(folder / name)]
    command = [sys.executable, "-m", resume_process.__name__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


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
