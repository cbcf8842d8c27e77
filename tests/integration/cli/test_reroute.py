"""`persyn reroute plan`, as a person and as a machine read it."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from persyn.cli import context, main
from persyn.errors import InputError
from tests.integration.stages.test_reroute import ReroutedRun

RUN = CliRunner()


@pytest.fixture
def measured(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    run = ReroutedRun(engine, tmp_path, reroute={"attempts": 2, "price": "tokens"}, calibration={"size": 30})
    run.work_until("SELECT FROM job WHERE stage = 40")
    monkeypatch.setattr(context, "engine", lambda: engine)
    return run


def test_a_plan_is_a_table_a_picture_and_json(measured: ReroutedRun, tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    shown = RUN.invoke(main.app, ["reroute", "plan", "small", "--plot", str(picture)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "replayed on 30 calibration prompts, bar 1" in shown.output
    assert "up to 2" in shown.output
    assert "Up to" in shown.output.splitlines()[-2]
    assert "the run's own: up to 2" in picture.read_text()
    found = json.loads(RUN.invoke(main.app, ["reroute", "plan", "small", "--json"]).output)
    assert [row["name"] for row in found["rows"]][:2] == ["routed once", "up to 2"]
    assert found["unit"] == "tokens"


def test_a_picture_of_no_known_kind_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "engine", lambda: pytest.fail("it reads"))
    refused = RUN.invoke(main.app, ["reroute", "plan", "small", "--plot", "plan.bmp"])
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception).startswith("plan.bmp: plots are written as svg, png, pdf.")
