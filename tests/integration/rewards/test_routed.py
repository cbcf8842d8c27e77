"""`rewards.routed`: which routed answers can teach a router, and on which scale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from persyn import runs
from persyn.rewards import matrix, routed
from persyn.stages import train
from persyn.stages.artifacts import ROUTER, Kept
from tests.integration.small_run import SmallRun

NAN = float("nan")
PROMPTS, CALIBRATED = 8, 4
EXPLORES = {"policy": "persyn", "policy_options": {"explore": 0.5}, "calibration": {"size": CALIBRATED}}


def routed_run(engine: Engine) -> SmallRun:
    """A run whose prompts all went to `a`, with the probability of a quarter, and one routed prompt to `b` as well."""
    run = SmallRun(engine, PROMPTS, **EXPLORES)
    run.calibrate()
    train_by_hand(run)
    run.advance()
    run.route()
    with engine.begin() as conn:
        conn.execute(
            text("UPDATE routing_decision SET basis = 'explored', router_id = (SELECT id FROM router),"
                 " probability = 0.25")
        )  # fmt: skip
        conn.execute(
            text("""
            INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, attempt,
                                          failed_teacher_ids, gain, price, lease_id)
            SELECT d.run_id, d.prompt_id, d.policy, 'rerouted', rt.teacher_id, d.router_id, 2, ARRAY[d.teacher_id], 0.5,
                   1, d.lease_id
            FROM routing_decision d JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.position = 1
            WHERE d.prompt_id = :prompt
            """),
            {"prompt": routed_prompts(run)[0]},
        )
    run.advance()
    run.answer("a")
    run.answer("b")
    run.advance()
    run.score()
    return run


def routed_prompts(run: SmallRun) -> list[int]:
    return [row.id for row in run.rows(
        "SELECT p.id FROM prompt p WHERE NOT EXISTS (SELECT FROM calibration_prompt c WHERE c.prompt_id = p.id)"
        " ORDER BY 1")]  # fmt: skip


def train_by_hand(run: SmallRun) -> None:
    with run.engine.begin() as conn:
        lease_id, (claim,) = run.claim(conn, "router")
        teachers = runs.load(conn, run.id).teacher_ids
        train.store(
            conn, lease_id, claim.id, run.id, run.config, teacher_ids=teachers,
            kept=Kept(ROUTER, "host", "x", "0" * 64, Path("x")), metrics={},
        )  # fmt: skip


def load(run: SmallRun) -> routed.RoutedScores:
    with run.engine.connect() as conn:
        return routed.load(conn, run.id, run.config, matrix.load(conn, run.id, run.config))


def measure(run: SmallRun, **by_teacher: tuple[float, float]) -> None:
    """Each teacher's quality and learnability, on every prompt."""
    with run.engine.begin() as conn:
        for name, pair in by_teacher.items():
            for kind, value in zip(("quality", "learnability"), pair, strict=True):
                conn.execute(
                    text("""
                    UPDATE score x SET value = :value
                    FROM generation g, teacher t, scorer s
                    WHERE g.id = x.generation_id AND t.id = g.teacher_id AND t.name = :name
                      AND s.id = x.scorer_id AND s.kind = :kind
                    """),
                    {"value": value, "name": name, "kind": kind},
                )


def test_values_are_standardised_by_the_calibration_and_mixed_by_alpha(engine: Engine) -> None:
    """Two teachers of quality 1 and 0: the mean is 0.5, the deviation 0.5, so 1 and -1; learnability the other way."""
    run = routed_run(engine)
    measure(run, a=(1.0, -3.0), b=(0.0, -1.0))
    found = load(run)
    a, b = 0.6 * 1 + 0.4 * -1, 0.6 * -1 + 0.4 * 1
    np.testing.assert_allclose(found.calibration, [[a, b]] * CALIBRATED)
    assert found.first.tolist() == [0] * (PROMPTS - CALIBRATED)
    assert found.probability.tolist() == [0.25] * (PROMPTS - CALIBRATED)
    np.testing.assert_allclose(found.values, [[a, b]] + [[a, NAN]] * (PROMPTS - CALIBRATED - 1))
    assert run.violations().keys() <= {
        "a_decision_has_the_probability_that_its_run_explores_by",  # by hand, and not by the run
        "no_prompt_was_rerouted_from_an_answer_that_is_good_enough",
    }


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM score x USING generation g WHERE g.id = x.generation_id AND g.prompt_id = :prompt",
        "UPDATE routing_decision SET basis = 'router', probability = NULL WHERE prompt_id = :prompt AND attempt = 1",
        # the text of a calibration prompt, which another set may hold too
        """
        UPDATE prompt SET sha256 = (SELECT c.sha256 FROM calibration_prompt x JOIN prompt c ON c.id = x.prompt_id
                                    LIMIT 1),
                          prompt_set_id = (SELECT id FROM prompt_set WHERE name = 'other')
        WHERE id = :prompt
        """,
    ],
)
def test_a_prompt_that_is_not_measured_not_drawn_or_seen_in_calibration_teaches_nothing(
    engine: Engine, change: str
) -> None:
    run = routed_run(engine)
    prompt = routed_prompts(run)[1]
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO prompt_set (name) VALUES ('other')"))
        conn.execute(text(change), {"prompt": prompt})
    assert len(load(run).prompts) == PROMPTS - CALIBRATED - 1


def test_a_run_that_goes_by_this_ones_router_teaches_it_too(engine: Engine) -> None:
    run = routed_run(engine)
    own = len(load(run).prompts)
    borrower: dict[str, Any] = run.config.model_dump(mode="json", exclude_unset=True)
    with engine.begin() as conn:
        other = runs.create(
            conn, type(run.config).model_validate(borrower | {"name": "other", "router": {"of": "small"}})
        )
        conn.execute(
            text("""
            INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, router_id, probability,
                                          lease_id)
            SELECT :other, prompt_id, policy, basis, teacher_id, router_id, probability, lease_id
            FROM routing_decision WHERE attempt = 1
            """),
            {"other": other},
        )
    assert len(load(run).prompts) == 2 * own
