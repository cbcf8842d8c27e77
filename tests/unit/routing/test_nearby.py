"""`routing.nearby`: the nearest by angle, in their order, however many there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.routing.nearby import directions, nearest


def test_the_nearest_are_those_of_the_smallest_angle_whatever_the_length() -> None:
    known = directions(np.array([[0.0, 9.0], [0.1, 0.0], [1.0, 1.0], [-1.0, 0.0]], dtype=np.float32))
    found = nearest(directions(np.array([[5.0, 1.0], [0.0, 0.01]], dtype=np.float32)), known, 3)
    assert found.tolist() == [[1, 2, 0], [0, 2, 1]]


def test_fewer_prompts_than_asked_for_are_all_of_them() -> None:
    known = directions(np.eye(2, dtype=np.float32))
    assert nearest(known, known, 5).tolist() == [[0, 1], [1, 0]]


def test_a_vector_of_length_zero_has_neighbours_too() -> None:
    known = directions(np.array([[0.0, 0.0], [1.0, 0.0]], dtype=np.float32))
    assert nearest(directions(np.zeros((1, 2), dtype=np.float32)), known, 1).shape == (1, 1)


@given(arrays(np.float32, (12, 3), elements=st.integers(-4, 4)), st.integers(1, 14))
def test_no_other_is_nearer_and_a_prompt_has_the_same_neighbours_alone(vectors: np.ndarray, count: int) -> None:
    known = directions(vectors)
    found = nearest(known, known, count)
    likeness = known @ known.T
    for row, places in enumerate(found):
        assert len(set(places.tolist())) == min(count, 12)
        chosen = likeness[row, places]
        assert (np.diff(chosen) <= 1e-6).all()
        others = np.delete(likeness[row], places)
        assert others.size == 0 or others.max() <= chosen.min() + 1e-6
        alone = nearest(known[row : row + 1], known, count)[0]
        assert likeness[row, alone] == pytest.approx(chosen, abs=1e-6)
