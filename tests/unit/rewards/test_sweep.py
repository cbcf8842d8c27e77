"""`rewards.sweep`: what α does to the choices, worked by hand, and which α lists are understood."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.errors import ConfigError
from persyn.rewards.sweep import parse_alphas, sweep

NAN = float("nan")


def test_the_choices_move_from_quality_to_learnability() -> None:
    quality = np.array([[1.0, 0.0], [0.9, 0.1]])
    learnability = np.array([[-2.0, -1.0], [-3.0, -1.0]])
    found = sweep(quality, learnability, [0.0, 0.5, 1.0], "minmax")
    first, middle, last = found.points
    assert (first.shares, first.quality, first.learnability) == ([1.0, 0.0], 0.95, -2.5)
    assert (last.shares, last.quality, last.learnability) == ([0.0, 1.0], 0.05, -1.0)
    assert (middle.shares, middle.ties) == ([0.5, 0.5], 2)  # the normalised scores are mirror images
    assert middle.quality == pytest.approx(0.5)
    assert (found.prompts, found.left_out, found.flat_quality, found.flat_learnability) == (2, 0, 0, 0)


def test_an_answer_without_one_of_the_scores_is_left_out_at_every_alpha() -> None:
    quality = np.array([[1.0, 0.0, 0.5], [1.0, 0.0, NAN], [NAN, 0.0, 1.0]])
    learnability = np.array([[NAN, -1.0, -2.0], [NAN, -1.0, -2.0], [-1.0, -1.0, -2.0]])
    found = sweep(quality, learnability, [0.0, 1.0], "minmax")
    assert (found.prompts, found.left_out) == (2, 1)
    assert found.points[0].shares == [0.0, 0.0, 1.0]
    assert found.points[1].shares == [0.0, 1.0, 0.0]


def test_flat_scores_are_counted_and_ties_count_in_equal_parts() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.2, 0.2, 0.2]])
    learnability = np.array([[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]])
    found = sweep(quality, learnability, [0.0], "rank")
    assert found.points[0].shares == pytest.approx([(1 / 2 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3, (2 / 3) / 3])
    assert (found.points[0].ties, found.flat_quality, found.flat_learnability) == (3, 2, 1)


def test_scores_that_offer_no_choice_give_no_points() -> None:
    assert sweep(np.full((3, 2), NAN), np.zeros((3, 2)), [0.0, 1.0], "minmax").points == []
    assert sweep(np.zeros((0, 2)), np.zeros((0, 2)), [0.0], "minmax").points == []


@given(
    arrays(np.float64, (5, 3), elements=st.one_of(st.integers(-3, 3).map(float), st.just(NAN))),
    arrays(np.float64, (5, 3), elements=st.one_of(st.integers(-3, 3).map(float), st.just(NAN))),
    st.sampled_from(["minmax", "zscore", "rank"]),
)
def test_shares_are_shares_and_the_ends_are_the_best_of_their_score(
    quality: np.ndarray, learnability: np.ndarray, how: str
) -> None:
    found = sweep(quality, learnability, [0.0, 0.3, 1.0], how)  # type: ignore[arg-type]
    for point in found.points:
        assert sum(point.shares) == pytest.approx(1.0)
    if found.points:
        assert found.points[0].quality >= max(point.quality for point in found.points) - 1e-9
        assert found.points[2].learnability >= max(point.learnability for point in found.points) - 1e-9


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("0:1:0.25", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("0:1:0.1", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("0:1:0.3", [0.0, 0.3, 0.6, 0.9]),
        ("0.4:0.4:1", [0.4]),
        ("0, 0.4 ,1", [0.0, 0.4, 1.0]),
        ("0.4", [0.4]),
    ],
)
def test_alphas_are_a_range_or_a_list(given_text: str, expected: list[float]) -> None:
    assert parse_alphas(given_text) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a",
        "0:1",
        "0:1:0",
        "0:1:-1",
        "1:0:0.1",
        "0:2:0.5",
        "-0.1,0.5",
        "0:1:0.1,1",
        "nan",
        "0:1:1e-9",
        "0:inf:1",
        "1:nan:1",
    ],
)
def test_other_alphas_are_refused_in_a_sentence(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"--alpha: .* is neither FROM:TO:STEP"):
        parse_alphas(wrong)
