"""Runs that explore, and routers that learn from the answers to routed prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from persyn import reporting, runs
from persyn.errors import ConfigError
from persyn.rewards import matrix, routed
from persyn.stages import pipeline, train
from persyn.states import Stage
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker
from tests.integration.workers.test_router import (
    CALIBRATED,
    LEARNABILITY,
    PROMPTS,
    QUALITY,
    answer,
    budgeted_run,
    route,
    score,
    violations,
)


def test_an_exploring_run_draws_some_prompts_and_keeps_the_probability_of_each_choice(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    options = {"policy": "persyn", "policy_options": {"explore": 0.5}, "calibration_answers": "routed"}
    run_id = budgeted_run(engine, tmp_path, tiny_model, {}, **options)
    found = route(engine, tmp_path, run_id)
    assert sum(found.values()) == PROMPTS
    assert {basis for _, basis in found} == {"router", "explored"}
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT basis, teacher, margin, probability FROM audit.decision WHERE run_id = :id"), {"id": run_id}
        ).all()
        shares = conn.execute(text("SELECT basis, sum(share) FROM audit.teacher_share GROUP BY basis")).all()
        summary = reporting.summary(conn, run_id)
        trail = conn.execute(text("SELECT detail FROM audit.prompt_trail WHERE what = 'routed'")).scalars().all()
    for row in rows:
        assert row.probability == pytest.approx(1 / 6 + (0.5 if row.margin > 0 else 0.0))
        assert row.margin > 0 or row.basis == "explored"
    drawn = sum(row.basis == "explored" for row in rows)
    assert dict(map(tuple, shares)) == pytest.approx({"explored": drawn / PROMPTS, "router": 1 - drawn / PROMPTS})
    assert (summary.explored, summary.decided) == (drawn, PROMPTS)
    assert sorted(detail["probability"] for detail in trail) == pytest.approx(sorted(row.probability for row in rows))
    assert violations(engine) == []


def answered_run(engine: Engine, home: Path, model: str, **changes: Any) -> int:
    """An exploring run whose routed answers are there and scored: b is the best on every prompt."""
    options: dict[str, Any] = {"policy": "persyn", "policy_options": {"explore": 0.5}}
    run_id = budgeted_run(engine, home, model, {}, **(options | {"reroute": "off"} | changes))
    route(engine, home, run_id)
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.GENERATE)
    for position, name in enumerate("abc"):
        pipeline.advance(engine, run_id)
        answer(engine, f"teacher.{name}")
        pipeline.advance(engine, run_id)
        score(engine, "score.quality", QUALITY[position])
        score(engine, "score.learnability", LEARNABILITY[position])
    return run_id


def test_a_router_learns_from_routed_answers_too_and_its_decisions_stay(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = answered_run(engine, tmp_path, tiny_model)
    decided = text("SELECT prompt_id, teacher_id, created_at FROM routing_decision ORDER BY 1")
    with engine.begin() as conn:
        before = conn.execute(decided).all()
        measured = matrix.load(conn, run_id, runs.load(conn, run_id).config)
        found = routed.load(conn, run_id, runs.load(conn, run_id).config, measured)
        prompts = "SELECT teacher, count(*) FROM audit.decision WHERE probability IS NOT NULL GROUP BY 1"
        by_teacher = dict(map(tuple, conn.execute(text(prompts)).all()))
        train.again(conn, run_id, with_routed=True)
    # Quality alone counts (alpha is 0): 0, 1 and 0.5, whose mean is 0.5 and whose deviation is √(1/6).
    expected = np.array([-0.5, 0.5, 0.0]) / np.sqrt(1 / 6)
    np.testing.assert_allclose(found.calibration, np.tile(expected, (CALIBRATED, 1)))
    assert len(found.prompts) == PROMPTS - CALIBRATED
    for place, teacher in enumerate(found.first):
        assert found.values[place, teacher] == pytest.approx(expected[teacher])
        assert np.isfinite(found.values[place]).sum() == 1
    assert {"abc"[one]: int((found.first == one).sum()) for one in {*found.first.tolist()}} == by_teacher
    drain_router(Worker(engine, tmp_path))
    with engine.connect() as conn:
        metrics = conn.execute(text("SELECT metrics FROM router")).scalar_one()
        assert conn.execute(decided).all() == before
        assert conn.execute(text("SELECT count(*) FROM job WHERE kind = 'train_router'")).scalar_one() == 2
    assert (metrics["routed_prompts"], metrics["routed_answers"]) == (PROMPTS - CALIBRATED,) * 2
    assert metrics["routed_gain"] == [0.0, 0.0, 0.0]  # b is the best on every prompt, with and without them
    with engine.begin() as conn:
        train.again(conn, run_id)
    drain_router(Worker(engine, tmp_path))
    with engine.connect() as conn:
        assert "routed_prompts" not in conn.execute(text("SELECT metrics FROM router")).scalar_one()
    assert violations(engine) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy_options": {}}, "--with-routed: no decision by the router of 'r' has a probability, because no run"),
        (
            {"scorers": {"quality": {"kind": "math_verify"}, "score": "calibration"}},
            "--with-routed: no answer to a prompt that the router of 'r' has routed is measured yet. Set scorers.score",
        ),
        ({"head": "plain"}, "--with-routed: only a cross-validated head on a frozen backbone learns from routed"),
    ],
)
def test_a_router_without_routed_answers_to_learn_from_is_told_what_it_lacks(
    engine: Engine, tmp_path: Path, tiny_model: str, changes: dict[str, Any], told: str
) -> None:
    if "head" in changes:
        changes = {"router": {"backbone": tiny_model, "max_length": 64} | changes}
    run_id = answered_run(engine, tmp_path, tiny_model, **changes)
    with engine.begin() as conn, pytest.raises(ConfigError) as refused:
        train.again(conn, run_id, with_routed=True)
    assert str(refused.value).startswith(told)
