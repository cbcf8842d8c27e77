"""`routing.policies`: each policy's choice, and that it depends on the prompt and not on its neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persyn.errors import ModelError
from persyn.routing.policies import Choice, Policy, choose, strongest

SIZES = [1.0, 7.0, 3.0]
QUALITY = np.array([[0.0, 1.0, 1.0], [1.0, np.nan, 1.0]])


def routed(policy: Policy, coefficients: np.ndarray, keys: list[str], seed: int = 0) -> Choice:
    return choose(policy, coefficients, calibration_quality=QUALITY, params_b=SIZES, seed=seed, prompt_keys=keys)


def test_persyn_takes_the_highest_coefficient_and_tells_its_lead() -> None:
    choice = routed("persyn", np.array([[0.1, 0.9, 0.4], [2.0, 2.0, 1.0]]), ["a", "b"])
    assert choice.teacher_index.tolist() == [1, 0]  # of equals the first
    assert choice.margin == pytest.approx([0.5, 0.0])


def test_a_coefficient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        routed("persyn", np.array([[0.1, np.nan, 0.4]]), ["a"])


@pytest.mark.parametrize("coefficients", [None, np.zeros((1, 3)), np.zeros((2, 2))])
def test_persyn_without_a_coefficient_for_each_prompt_and_teacher_is_a_bug(coefficients: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="one coefficient per prompt and teacher"):
        choose("persyn", coefficients, calibration_quality=None, params_b=SIZES, seed=0, prompt_keys=["a", "b"])


def test_strong_gives_every_prompt_to_the_teacher_of_the_highest_quality() -> None:
    quality = np.array([[0.0, 0.2, 1.0], [1.0, 0.3, 0.9]])
    choice = choose("strong", None, calibration_quality=quality, params_b=SIZES, seed=0, prompt_keys=["a", "b"])
    assert choice.teacher_index.tolist() == [2, 2]
    assert np.isnan(choice.margin).all()


@pytest.mark.parametrize(
    ("quality", "sizes", "expected"),
    [
        (QUALITY, [1.0, 7.0, 3.0], 1),  # means 0.5, 1, 1: the larger of the two best
        (QUALITY, [1.0, 3.0, 3.0], 1),  # of the same size: the first
        ([[np.nan, -1.0, -2.0]], [9.0, 1.0, 1.0], 1),  # without a score: last
        (np.empty((0, 3)), [1.0, 7.0, 3.0], 1),  # nothing measured: the largest
    ],
)
def test_the_strongest_is_decided_by_quality_then_size_then_order(
    quality: np.ndarray, sizes: list[float], expected: int
) -> None:
    assert strongest(np.asarray(quality), sizes) == expected


def test_strong_without_measured_quality_is_a_bug() -> None:
    with pytest.raises(ValueError, match="calibration set's quality"):
        choose("strong", None, calibration_quality=None, params_b=SIZES, seed=0, prompt_keys=["a"])


def test_random_changes_with_the_seed_and_uses_every_teacher() -> None:
    keys = [str(number) for number in range(300)]
    one, other = (routed("random", np.zeros((300, 3)), keys, seed).teacher_index for seed in (1, 2))
    assert (one != other).any()
    assert np.bincount(one, minlength=3).min() > 70


@pytest.mark.parametrize("policy", ["persyn", "strong", "random"])
@given(order=st.permutations(list(range(7))), cut=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_a_decision_depends_on_neither_batch_nor_order(policy: Policy, order: list[int], cut: int) -> None:
    coefficients = np.random.default_rng(0).normal(size=(7, 3))
    keys = [f"prompt {number}" for number in range(7)]
    whole = routed(policy, coefficients, keys).teacher_index
    for part in (order[:cut], order[cut:]):
        index = routed(policy, coefficients[part], [keys[number] for number in part]).teacher_index
        assert index.tolist() == whole[part].tolist()
