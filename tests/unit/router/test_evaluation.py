"""`router.evaluation` and `router.baselines`: what the router is compared with, and what the comparison says."""

from collections.abc import Callable

import numpy as np
import pytest

from persyn.router import baselines, evaluation
from persyn.router.metrics import chosen_reward

NAN = float("nan")
DRAW = np.random.default_rng(0)
SIDES = DRAW.integers(0, 2, 120)
VECTORS = np.column_stack([2.0 * SIDES - 1, DRAW.normal(size=(120, 3)) * 0.1])
REWARDS = np.column_stack([SIDES, 1 - SIDES, np.full(120, 0.4)]).astype(
    float
)  # which of two is right shows in the vector
TEACHERS = ["a", "b", "c"]


@pytest.mark.parametrize(("method", "value"), [(baselines.knn, 10), (baselines.kernel_ridge, 1), (baselines.mlp, 1e-3)])
def test_a_baseline_finds_what_the_vectors_tell(method: Callable[..., np.ndarray], value: float) -> None:
    guess = method(VECTORS[:80], REWARDS[:80], VECTORS[80:], value)
    assert chosen_reward(guess, REWARDS[80:]).mean() == 1.0


@pytest.mark.parametrize(("method", "value"), [(baselines.knn, 10), (baselines.kernel_ridge, 1), (baselines.mlp, 1e-3)])
def test_a_baseline_copes_with_missing_rewards(method: Callable[..., np.ndarray], value: float) -> None:
    holed = np.where(DRAW.random(REWARDS.shape) < 0.3, NAN, REWARDS)
    assert np.isfinite(method(VECTORS[:80], holed[:80], VECTORS[80:], value)).all()


def test_the_test_rewards_move_no_choice_but_the_oracles() -> None:
    first = evaluation.baselines(VECTORS[:80], REWARDS[:80], VECTORS[80:], REWARDS[80:], seed=0)
    other = evaluation.baselines(VECTORS[:80], REWARDS[:80], VECTORS[80:], 1 - REWARDS[80:], seed=0)
    for name in first.keys() - {"oracle"}:
        np.testing.assert_array_equal(first[name], other[name])
    assert (first["oracle"] != other["oracle"]).any()


def choices(router: np.ndarray) -> dict[str, np.ndarray]:
    return {"router": router, "static": np.broadcast_to(REWARDS.mean(axis=0), REWARDS.shape), "oracle": REWARDS}


def test_a_router_that_knows_all_recovers_the_whole_gap() -> None:
    found = evaluation.table(choices(10 * REWARDS), REWARDS, TEACHERS)
    assert found["methods"]["router"]["gap_recovered"] == [1.0, 1.0, 1.0]
    assert found["methods"]["static"]["gap_recovered"][0] == 0.0
    assert found["differences"]["router_minus_oracle"] == [0.0, 0.0, 0.0]
    assert found["beats_static"]
    needed = {row["lead"]: row["prompts"] for row in found["prompts_needed"]}
    assert needed[0.02] > needed[0.03] > needed[0.05] > 0
    assert found["advice"] is None


def test_a_router_that_is_the_static_best_is_told_so() -> None:
    found = evaluation.table(choices(np.broadcast_to(REWARDS.mean(axis=0), REWARDS.shape)), REWARDS, TEACHERS)
    assert not found["beats_static"]
    assert [row["prompts"] for row in found["prompts_needed"]] == [None, None, None]
    assert "policy: strong" in found["advice"]
    assert sum(found["methods"]["router"]["shares"].values()) == pytest.approx(1.0)
