"""The plan of rerouting, replayed from calibration answers alone."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from persyn.errors import ConfigError
from persyn.reporting import plots, rerouting
from tests.integration.stages.test_reroute import CALIBRATED, ReroutedRun, quality


@pytest.fixture
def measured(engine: Engine, tmp_path: Path) -> Any:
    run = ReroutedRun(engine, tmp_path, reroute={"attempts": 2}, calibration={"size": 40})
    run.work_until("SELECT FROM job WHERE stage = 40")
    return run


def test_a_plan_tells_what_each_further_answer_brings_and_costs(measured: ReroutedRun, tmp_path: Path) -> None:
    with measured.engine.connect() as conn:
        plan = rerouting.plan(conn, "small")
    positions = [row.position for row in measured.rows(
        "SELECT p.position FROM calibration_prompt c JOIN prompt p ON p.id = c.prompt_id")]  # fmt: skip
    right = {name: sum(quality(name, n) for n in positions) / len(positions) for name in "ab"}
    once, twice, *_ = plan.rows
    assert (plan.prompts, plan.bar, plan.unit) == (40, 1.0, "answers")
    assert (once.quality.mean, once.answers) == (pytest.approx(right["a"]), 1.0)
    assert twice.is_own
    assert twice.quality.mean == pytest.approx(right["a"] + right["b"])
    assert twice.answers == pytest.approx(1 + (1 - right["a"]))
    assert twice.of_gap is not None
    assert twice.of_gap.mean == pytest.approx(1.0)
    budgets = [row for row in plan.rows if row.budget is not None]
    assert [row.budget for row in budgets] == [1.25, 1.5, 2.0]
    assert plan.advice.startswith("Up to 2 answers bring the quality from ")
    assert plan.rivals[0].quality.mean == pytest.approx(right["a"] + right["b"])  # b is the second best on average too
    assert "the static order does as well here" in plan.advice
    plots.reroute_frontier(tmp_path / "plan.svg", title="t", rows=plan.rows, rivals=plan.rivals)
    assert (tmp_path / "plan.svg").read_text().count("<svg") == 1


def test_a_plan_before_any_score_says_what_to_do(engine: Engine, tmp_path: Path) -> None:
    run = ReroutedRun(engine, tmp_path, calibration={"size": CALIBRATED})
    run.advance()
    with engine.connect() as conn, pytest.raises(ConfigError, match="`persyn score` measure answers first"):
        rerouting.plan(conn, "small")
