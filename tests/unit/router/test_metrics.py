"""`router.metrics` on rewards small enough to count by hand."""

import numpy as np
import pytest

from persyn.router.metrics import (
    bootstrap,
    evaluate,
    hit_at_k,
    mean_reward,
    pairwise_accuracy,
    prompts_needed,
    regret,
)

NAN = float("nan")
REWARDS = np.array([[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]])
LAST = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])  # prefers the last teacher on both prompts


def test_hits_grow_with_k_up_to_all() -> None:
    assert [hit_at_k(LAST, REWARDS, k) for k in (1, 2, 3)] == [0.5, 0.5, 1.0]


def test_a_choice_that_ties_with_the_best_is_a_hit() -> None:
    assert hit_at_k(np.array([[0.0, 1.0, 0.5]]), np.array([[1.0, 1.0, 0.0]]), 1) == 1.0


def test_reward_and_regret_add_up_to_the_oracles() -> None:
    assert mean_reward(LAST, REWARDS) == 0.5
    assert regret(LAST, REWARDS) == 0.5


def test_a_teacher_without_a_reward_is_not_chosen() -> None:
    rewards = np.array([[0.2, 0.8, NAN]])
    assert mean_reward(LAST[:1], rewards) == 0.8
    assert hit_at_k(LAST[:1], rewards, 1) == 1.0
    assert regret(LAST[:1], rewards) == 0.0


def test_pairwise_accuracy_counts_equal_coefficients_half() -> None:
    assert pairwise_accuracy(LAST, REWARDS) == 0.5
    assert pairwise_accuracy(np.zeros((2, 3)), REWARDS) == 0.5
    assert pairwise_accuracy(REWARDS, REWARDS) == 1.0
    assert pairwise_accuracy(LAST, np.array([[NAN, 0.0, 1.0], [0.5, 0.5, NAN]])) == 1.0


def test_the_router_and_the_static_best_are_measured_on_the_same_prompts() -> None:
    alone = np.array([[NAN, NAN, 1.0]])
    measured = evaluate(np.vstack([REWARDS, LAST[:1]]), np.vstack([REWARDS, alone]), static=np.array([0.0, 0.0, 1.0]))
    assert measured["prompts"] == 2  # one teacher alone is no choice
    assert measured["hit_at_1"] == 1.0
    assert measured["static_hit_at_1"] == 0.5
    assert measured["regret"] == 0.0
    assert measured["static_regret"] == 0.5
    assert measured["oracle_reward"] == pytest.approx(1.0)


def test_without_prompts_a_measure_is_none() -> None:
    nothing = np.empty((0, 3))
    assert set(evaluate(nothing, nothing, static=np.zeros(3)).values()) == {0.0, None}


def test_bootstrap_gives_the_same_interval_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=50)
    first, again, other = (bootstrap(values, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first is not None
    assert first.low < first.mean < first.high


def test_bootstrap_covers_about_the_standard_errors_interval() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap(values)
    assert interval is not None
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_bootstrap_of_a_ratio_pairs_both_values_of_a_prompt() -> None:
    below = np.random.default_rng(0).random(30) + 0.5
    assert bootstrap(2 * below, below=below) == pytest.approx((2.0, 2.0, 2.0))


def test_bootstrap_leaves_out_draws_without_anything_below() -> None:
    few = np.array([1.0, 0.0, 0.0])
    assert bootstrap(few, below=few) == (1.0, 1.0, 1.0)


def test_bootstrap_of_one_value_is_that_value_and_of_none_is_none() -> None:
    assert bootstrap(np.array([0.3])) == (0.3, 0.3, 0.3)
    assert bootstrap(np.empty(0)) is None
    assert bootstrap(np.array([1.0, -1.0]), below=np.zeros(2)) is None


def test_a_lead_needs_as_many_prompts_as_the_formula_says() -> None:
    """Differences of ±0.3 have the deviation 0.3·√(10/9); (1.95996 + 0.84162)² = 7.84888, times 0.1 over 0.02²."""
    differences = np.tile([0.3, -0.3], 5)
    assert prompts_needed(differences, 0.02) == 1963  # 7.84888 · 0.1 / 0.0004 = 1962.2
    assert prompts_needed(differences, 0.05) == 314  # 7.84888 · 0.1 / 0.0025 = 313.96
    assert prompts_needed(differences * 2, 0.05) == 1256  # twice the deviation, four times the prompts: 1255.8


def test_differences_that_are_all_alike_tell_nothing_of_the_prompts_that_a_lead_needs() -> None:
    assert prompts_needed(np.zeros(5), 0.02) is None
    assert prompts_needed(np.array([0.1]), 0.02) is None
