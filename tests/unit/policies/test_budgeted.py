"""`routing.budget`: what budgets allow in prompts, and that nothing hangs on the prompts' order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.config import Budget
from persyn.errors import ConfigError, ModelError
from persyn.policies import per_prompt
from persyn.policies.budgeted import Usage, assign_within, capacities

NAMES = ["a", "b", "c"]
USAGE = [Usage(50.0, 100.0), Usage(50.0, 300.0), Usage(None, None)]


def room(prompts: int, **budgets: dict[str, Any]) -> list[int]:
    given_budgets = {name: Budget.model_validate(raw) for name, raw in budgets.items()}
    return [int(count) for count in capacities(NAMES, given_budgets, USAGE, prompts)]


@pytest.mark.parametrize(
    ("prompts", "budgets", "expected"),
    [
        (10, {"a": {"share": 0.3}}, [3, 10, 10]),
        (11, {"a": {"share": 0.3}}, [3, 11, 11]),  # rounded down
        (10, {"a": {"share": 0.0}}, [0, 10, 10]),
        # 100 and 300 tokens an answer
        (10, {"a": {"tokens": 450}, "b": {"tokens": 899}}, [4, 2, 10]),
        # 100 tokens at 2 a million and 50 at 1: 250 millionths an answer
        (10, {"a": {"cost": 0.001, "price": 2.0, "prompt_price": 1.0}}, [4, 10, 10]),
        # of two limits the tighter
        (10, {"a": {"share": 0.5, "tokens": 200}}, [2, 10, 10]),
        (10, {"a": {"share": 0.1, "tokens": 200}}, [1, 10, 10]),
        # three thirds of 10 prompts: 3.33 each, and rounding alone must leave no prompt without a teacher
        (10, {"a": {"share": 1 / 3}, "b": {"share": 1 / 3}, "c": {"share": 1 / 3}}, [4, 3, 3]),
        (10, {"a": {"share": 0.25}, "b": {"share": 0.25}, "c": {"share": 0.5}}, [3, 2, 5]),
        (0, {"a": {"share": 0.3}}, [0, 0, 0]),
    ],
)
def test_budgets_become_numbers_of_prompts(prompts: int, budgets: dict[str, Any], expected: list[int]) -> None:
    assert room(prompts, **budgets) == expected


def test_budgets_that_cannot_take_all_prompts_are_told_in_one_sentence() -> None:
    with pytest.raises(ConfigError) as told:
        room(10, a={"share": 0.3}, b={"tokens": 600}, c={"share": 0.2})
    assert str(told.value) == (
        "policy_options.budget: the budgets allow 7 prompts in all (a 3, b 2, c 2), but 10 must be routed."
        " Raise a budget, or leave one teacher without."
    )


@pytest.mark.parametrize("budget", [{"tokens": 10}, {"cost": 1.0, "price": 1.0}])
def test_tokens_without_a_measure_of_them_are_told(budget: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"policy_options\.budget\.c: no calibration answer .* tokens counted"):
        room(10, c=budget)


coefficients = arrays(
    np.float64, st.tuples(st.integers(1, 15), st.just(3)), elements=st.sampled_from([-1.0, 0.0, 0.25, 2.0])
)


@given(coefficients)
def test_budgeted_is_persyn_where_nothing_binds(values: np.ndarray) -> None:
    names = [str(row) for row in range(len(values))]
    found, expected = assign_within(values, np.full(3, len(values)), names), per_prompt.highest(values)
    assert (found.teacher_index == expected.teacher_index).all()
    assert (found.margin == expected.margin).all()


@given(coefficients, st.randoms(use_true_random=False))
def test_a_prompt_has_the_same_teacher_in_whatever_order_the_prompts_come(values: np.ndarray, random: Any) -> None:
    prompts = len(values)
    capacity = np.array([prompts // 3, prompts // 3, prompts - 2 * (prompts // 3)])
    order = list(range(prompts))
    random.shuffle(order)
    names = [f"{row:03}" for row in range(prompts)]
    first = assign_within(values, capacity, names).teacher_index
    second = assign_within(values[order], capacity, [names[row] for row in order]).teacher_index
    assert (first[order] == second).all()


def test_a_prompt_that_a_budget_sends_elsewhere_says_what_that_costs() -> None:
    choice = assign_within(np.array([[1.0, 0.4], [3.0, 0.5]]), np.array([1, 2]), ["x", "y"])
    assert choice.teacher_index.tolist() == [1, 0]
    assert choice.margin == pytest.approx([-0.6, 2.5])


def test_a_coefficient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        assign_within(np.array([[np.nan, 0.0]]), np.array([1, 1]), ["x"])
