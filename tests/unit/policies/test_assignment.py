"""`routing.assignment`: no assignment within the capacities is better, whatever the coefficients look like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from persyn.policies.assignment import assign


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients with few values, so full of ties, or with any; capacities that just suffice, or more."""
    prompts, teachers = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    few = st.integers(-2, 2).map(float)
    wide = st.floats(-1e3, 1e3, allow_nan=False)
    coefficients = draw(arrays(np.float64, (prompts, teachers), elements=draw(st.sampled_from([few, wide]))))
    capacity = np.array(draw(st.lists(st.integers(0, prompts), min_size=teachers, max_size=teachers)))
    capacity[draw(st.integers(0, teachers - 1))] += max(0, prompts - int(capacity.sum()))
    return coefficients, capacity


def total(coefficients: np.ndarray, chosen: np.ndarray) -> float:
    return float(coefficients[np.arange(len(chosen)), chosen].sum())


def best_total(coefficients: np.ndarray, capacity: np.ndarray) -> float:
    """By the Hungarian method, each teacher standing as often as it has room."""
    columns = np.repeat(np.arange(len(capacity)), np.minimum(capacity, len(coefficients)))
    rows, places = linear_sum_assignment(coefficients[:, columns], maximize=True)
    return float(coefficients[rows, columns[places]].sum())


@settings(max_examples=300, deadline=None)
@given(problems())
def test_the_sum_is_the_highest_there_is_and_no_capacity_is_exceeded(problem: tuple[np.ndarray, np.ndarray]) -> None:
    coefficients, capacity = problem
    chosen = assign(coefficients, capacity)
    assert (np.bincount(chosen, minlength=len(capacity)) <= capacity).all()
    assert total(coefficients, chosen) == pytest.approx(best_total(coefficients, capacity), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "coefficients",
    [
        np.random.default_rng(0).normal(size=(300, 6)),
        # one teacher is far ahead everywhere, and nearly the same on every prompt
        np.random.default_rng(1).normal(size=(300, 6)) * 1e-7 + np.linspace(5, 0, 6),
        # every prompt is the same
        np.tile(np.linspace(1, 0, 6), (300, 1)),
        # few values
        np.random.default_rng(2).integers(0, 3, (300, 6)).astype(float),
        # very large and very small at once
        np.random.default_rng(3).normal(size=(300, 6)) * np.logspace(-6, 6, 300)[:, None],
    ],
)
@pytest.mark.parametrize("capacity", [[50] * 6, [10, 10, 10, 300, 300, 300], [0, 0, 100, 100, 100, 0]])
def test_it_is_exact_on_coefficients_of_every_kind(coefficients: np.ndarray, capacity: list[int]) -> None:
    room = np.array(capacity)
    chosen = assign(coefficients, room)
    assert (np.bincount(chosen, minlength=6) <= room).all()
    assert total(coefficients, chosen) == pytest.approx(best_total(coefficients, room), rel=1e-12)


@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 4)), elements=st.integers(-3, 3).map(float)))
def test_without_a_binding_capacity_each_prompt_has_its_highest_coefficient(coefficients: np.ndarray) -> None:
    chosen = assign(coefficients, np.full(coefficients.shape[1], len(coefficients)))
    assert (chosen == coefficients.argmax(axis=1)).all()


def test_capacities_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="capacities of 3 in all cannot take 4 prompts"):
        assign(np.zeros((4, 2)), np.array([2, 1]))


def test_a_coefficient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        assign(np.array([[0.0, np.nan]]), np.array([1, 1]))
