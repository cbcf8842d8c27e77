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


def test_a_trained_student_is_no_name_on_the_hub() -> None:
    teachers = [{"name": name, "model": "student:3", "server": {"kind": "transformers"}} for name in ("one", "two")]
    student = {"name": "s", "model": "student:4"}
    measured = config(alpha=0.4, scorers={"learnability": {"kind": "scas"}}, teachers=teachers, student=student)
    assert models.check(measured, with_worker=False, elsewhere=False) == []
    routed = measured.model_copy(update={"policy": "persyn"})
    routed = routed.model_copy(update={"router": routed.router.model_copy(update={"backbone": "student:3"})})
    [found] = models.check(routed, with_worker=False, elsewhere=False)
    assert found.about == "router.backbone"
    assert "persyn student save 3 -o FOLDER" in found.told
