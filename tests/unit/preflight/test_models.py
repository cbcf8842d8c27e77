"""Whether a run's models could be loaded here: only what the run needs is looked for."""

from pathlib import Path
from typing import Any

import pytest

from persyn.config import RunConfig
from persyn.preflight import models


def config(**more: Any) -> RunConfig:
    teachers = [
        {"name": name, "family": "f", "model": "m", "endpoint": {"url": "http://h/v1"}} for name in ("quick", "slow")
    ]
    return RunConfig.model_validate(
        {"name": "r", "prompts": "p", "student": {"name": "s", "model": "bundled:smollm2-135m-instruct"}}
        | {"teachers": teachers, "policy": "random", "alpha": 0, "scorers": {"learnability": "none"}}
        | more
    )


@pytest.fixture
def without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('there is no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("without_torch")
def test_a_run_that_loads_no_model_needs_no_torch() -> None:
    assert models.check(config(), with_worker=True, elsewhere=False) == []


@pytest.mark.usefixtures("without_torch")
def test_a_run_with_a_student_to_measure_by_cannot_start_without_torch() -> None:
    measured = config(alpha=0.4, scorers={})
    found = models.check(measured, with_worker=True, elsewhere=False)
    assert any(finding.told.endswith("pip install 'persyn[train]'.") for finding in found)
