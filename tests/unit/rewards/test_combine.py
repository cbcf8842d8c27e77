"""`rewards.combine`: what normalising keeps, what it drops, and how missing scores spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persyn.rewards.combine import (
    DegenerateCounts,
    Normalisation,
    combine,
    count_degenerate,
    is_degenerate,
    lark_gain,
    normalise,
)

ALL: list[Normalisation] = ["minmax", "zscore", "rank"]
NAN = float("nan")
scores = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.one_of(st.integers(-50, 50).map(float), st.just(NAN)),
)


def test_minmax_spans_zero_to_one_within_each_prompt() -> None:
    assert normalise([[1, 3, 2], [-10, 10, 0]], "minmax").tolist() == [[0, 1, 0.5], [0, 1, 0.5]]


def test_zscore_has_mean_zero_and_deviation_one_within_each_prompt() -> None:
    result = normalise([[1, 3, 2], [1e-200, 3e-200, 9e-200]], "zscore")
    assert result.mean(axis=1) == pytest.approx([0, 0])
    assert result.std(axis=1) == pytest.approx([1, 1])


def test_rank_gives_ties_their_mean_rank() -> None:
    assert normalise([[5, 1, 5, 900]], "rank").tolist() == [[0.5, 0, 0.5, 1]]


@pytest.mark.parametrize(("how", "neutral"), [("minmax", 0.5), ("rank", 0.5), ("zscore", 0.0)])
def test_a_prompt_whose_scores_are_equal_is_neutral_and_counted(how: Normalisation, neutral: float) -> None:
    values = [[2, 2, NAN], [NAN, 7, NAN], [1, 2, 3]]
    result = normalise(values, how)
    np.testing.assert_equal(result[:2], [[neutral, neutral, NAN], [NAN, neutral, NAN]])
    assert is_degenerate(values).tolist() == [True, True, False]


def test_a_prompt_without_scores_is_missing_and_not_degenerate() -> None:
    assert np.isnan(normalise([[NAN, NAN]], "minmax")).all()
    assert not is_degenerate([[NAN, NAN]]).any()


@pytest.mark.parametrize("how", ALL)
def test_an_infinite_score_is_missing(how: Normalisation) -> None:
    np.testing.assert_equal(normalise([[1, 2, -np.inf]], how), normalise([[1, 2, NAN]], how))


@pytest.mark.parametrize("how", ALL)
@given(values=scores, scale=st.sampled_from([0.5, 2.0, 8.0]), shift=st.integers(-9, 9))
@settings(max_examples=40, deadline=None)
def test_normalising_forgets_scale_and_shift(how: Normalisation, values: np.ndarray, scale: float, shift: int) -> None:
    result = normalise(values, how)
    np.testing.assert_allclose(normalise(values * scale + shift, how), result, atol=1e-9)
    assert (np.isnan(result) == np.isnan(values)).all()
    if how != "zscore":
        assert ((result >= 0) & (result <= 1) | np.isnan(result)).all()


@pytest.mark.parametrize("how", ALL)
@given(values=scores)
@settings(max_examples=40, deadline=None)
def test_normalising_keeps_the_order_within_a_prompt(how: Normalisation, values: np.ndarray) -> None:
    result = normalise(values, how)
    for first, second in np.ndindex(values.shape[1], values.shape[1]):
        below = values[:, first] < values[:, second]
        assert (result[below, first] < result[below, second]).all()


def test_alpha_weighs_learnability_against_quality() -> None:
    quality, learnability = [[0, 1]], [[-1.0, -3.0]]
    np.testing.assert_allclose(combine(quality, learnability, 0.4, "minmax"), [[0.4, 0.6]])


def test_quality_that_is_equal_for_all_leaves_the_decision_to_learnability() -> None:
    assert combine([[1, 1, 1]], [[-3, -1, -2]], 0.4, "minmax").argmax() == 1


def test_a_teacher_without_one_of_the_scores_takes_no_part() -> None:
    result = combine([[0, 1, 100]], [[-1, -2, NAN]], 0.5, "minmax")
    np.testing.assert_allclose(result, [[0.5, 0.5, NAN]])


def test_a_score_without_weight_is_not_missed() -> None:
    nothing = [[NAN, NAN]]
    assert combine([[0, 1]], nothing, 0.0, "minmax").tolist() == [[0, 1]]
    assert combine(nothing, [[-2, -1]], 1.0, "minmax").tolist() == [[0, 1]]


def test_scores_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(prompts, teachers\)"):
        normalise([1.0, 2.0], "minmax")


def test_each_score_is_counted_over_the_answers_that_have_a_reward() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, NAN], [0.0, 0.0, 0.0], [NAN, NAN, 1.0]])
    learnability = np.array([[-1.0, -2.0, NAN], [-1.0, -1.0, -9.0], [-1.0, -1.0, -1.0], [-1.0, -2.0, NAN]])
    reward = combine(quality, learnability, 0.4, "minmax")
    # the first is flat in quality without its third answer, the second in learnability, the third in all of it
    assert count_degenerate(quality, learnability, reward) == DegenerateCounts(
        prompts=3, quality=2, learnability=2, reward=1
    )


def test_nothing_measured_is_nothing_degenerate() -> None:
    nothing = np.full((2, 3), NAN)
    assert count_degenerate(nothing, nothing, nothing) == DegenerateCounts(0, 0, 0, 0)


def test_larks_gain_weighs_how_fast_a_loss_falls_by_how_much_of_it_there_is() -> None:
    # ΣL 4, ΣρL / ΣL = (0.8 + 1.5) / 4 = 0.575: 1/4 (1.6 - 0.575) and 3/4 (1.0 - 0.575)
    assert lark_gain([[0.8, 0.5]], [[1.0, 3.0]])[0] == pytest.approx([0.25625, 0.31875])


def test_larks_gain_of_an_answer_alone_is_its_own_ratio() -> None:
    np.testing.assert_allclose(lark_gain([[0.8, NAN], [NAN, NAN]], [[1.7, 2.0], [NAN, NAN]]), [[0.8, NAN], [NAN, NAN]])


def test_larks_gain_leaves_out_what_lacks_a_score_and_is_nothing_without_a_loss() -> None:
    three = lark_gain([[0.8, NAN, 0.5]], [[1.0, 9.0, 3.0]])
    np.testing.assert_allclose(three, [[0.25625, NAN, 0.31875]])
    assert lark_gain([[0.0, 0.0]], [[0.0, 0.0]]).tolist() == [[0.0, 0.0]]


@given(st.lists(st.tuples(st.floats(0.01, 2), st.floats(0.01, 9)), min_size=1, max_size=6))
def test_larks_gains_sum_to_the_mean_ratio_weighted_by_loss(answers: list[tuple[float, float]]) -> None:
    ratios, losses = map(list, zip(*answers, strict=True))
    mean = sum(ratio * loss for ratio, loss in answers) / sum(losses)
    assert lark_gain([ratios], [losses]).sum() == pytest.approx(mean)  # Σ L/ΣL (2ρ - ρ̄) = 2ρ̄ - ρ̄
