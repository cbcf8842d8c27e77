"""`router.neighbours`: the nearest by cosine, and means over what is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.router.neighbours import column_means, mean_of_nearest, nearest

NAN = float("nan")


def unit_vectors(seed: int, rows: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 12), count=st.integers(1, 15))
def test_nearest_are_the_rows_of_the_highest_cosine_in_order(seed: int, rows: int, count: int) -> None:
    vectors, known = unit_vectors(seed, 4), unit_vectors(seed + 1, rows)
    expected = np.argsort(-(vectors @ known.T), axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(nearest(vectors, known, count), expected)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_nearest_takes_the_first_of_equals(count: int) -> None:
    known = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(nearest(known[1:2], known, count)[0, :2], [1, 2])


def test_column_means_leave_out_what_is_missing() -> None:
    np.testing.assert_allclose(column_means(np.array([[1.0, 4.0], [3.0, NAN]])), [2.0, 4.0])


def test_column_means_give_a_column_without_a_value_the_lowest_of_all() -> None:
    np.testing.assert_array_equal(column_means(np.array([[0.2, NAN], [0.6, NAN]])), [0.4, 0.2])
    np.testing.assert_array_equal(column_means(np.full((2, 2), NAN)), [0.0, 0.0])


@given(seed=st.integers(0, 10_000))
def test_mean_of_nearest_over_all_rows_is_the_column_means(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.where(draw.random((6, 3)) < 0.3, NAN, draw.normal(size=(6, 3)))
    vectors, known = unit_vectors(seed, 2), unit_vectors(seed + 1, 6)
    np.testing.assert_allclose(mean_of_nearest(vectors, known, values, 6), np.tile(column_means(values), (2, 1)))


def test_mean_of_nearest_falls_back_to_all_rows_for_a_teacher_without_a_value_there() -> None:
    values = np.array([[1.0, NAN], [0.0, 0.4], [0.0, 0.8]])
    means = mean_of_nearest(np.eye(3)[:1], np.eye(3), values, 1)
    np.testing.assert_allclose(means, [[1.0, 0.6]])
