"""`routing.policies`: each policy's choice, and that it depends on the prompt and not on its neighbours."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persyn.errors import ModelError
from persyn.policies import per_prompt
from persyn.policies.per_prompt import Choice

SIZES = [1.0, 7.0, 3.0]
NAN = float("nan")
keys = st.lists(st.text(max_size=8), min_size=1, max_size=30, unique=True)


def test_persyn_takes_the_highest_coefficient_and_tells_its_lead() -> None:
    choice = per_prompt.highest(np.array([[0.1, 0.9, 0.4], [2.0, 2.0, 1.0]]))
    assert choice.teacher_index.tolist() == [1, 0]  # of equals the first
    assert choice.margin == pytest.approx([0.5, 0.0])


def test_a_coefficient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        per_prompt.highest(np.array([[0.1, np.nan, 0.4]]))


def test_the_oracle_takes_the_highest_reward_of_those_that_are_known() -> None:
    choice = per_prompt.best_measured(np.array([[0.1, NAN, 0.4], [NAN, 0.2, NAN], [0.5, 0.5, 0.1]]))
    assert choice.teacher_index.tolist() == [2, 1, 0]
    assert choice.margin == pytest.approx([0.3, NAN, 0.0], nan_ok=True)


@pytest.mark.parametrize(
    ("quality", "sizes", "strongest", "weakest"),
    [
        # means 0.5, 1, 1: the larger of the two best
        ([[0.0, 1.0, 1.0], [1.0, NAN, 1.0]], [1.0, 7.0, 3.0], 1, 0),
        # of the same size: the first of the best; means 1, 0, 0: the smaller of the worst
        ([[0.0, 1.0, 1.0]], [1.0, 3.0, 3.0], 1, 0),
        ([[1.0, 0.0, 0.0]], [1.0, 7.0, 3.0], 0, 2),
        # all alike: the first is the strongest, the last the weakest, so that they differ
        ([[1.0, 1.0, 1.0]], [1.0, 1.0, 1.0], 0, 2),
        # without a score: neither
        ([[NAN, -1.0, -2.0]], [9.0, 1.0, 1.0], 1, 2),
        # no score at all: by size
        ([[NAN, NAN, NAN]], [1.0, 2.0, 3.0], 2, 0),
    ],
)
def test_the_strongest_and_the_weakest_go_by_mean_quality_then_size_then_place(
    quality: list[list[float]], sizes: list[float], strongest: int, weakest: int
) -> None:
    assert per_prompt.strongest(np.array(quality), sizes) == strongest
    assert per_prompt.weakest(np.array(quality), sizes) == weakest


def test_the_strongest_of_a_family_is_sought_in_the_family_alone() -> None:
    assert per_prompt.strongest(np.array([[0.1, 0.9, 0.5]]), SIZES, among=[0, 2]) == 2


def test_one_teacher_for_all_compares_nothing() -> None:
    choice = per_prompt.one_for_all(2, 3)
    assert choice.teacher_index.tolist() == [2, 2, 2]
    assert np.isnan(choice.margin).all()


def test_the_compatibility_adjusted_reward_is_the_formula_worked_by_hand() -> None:
    quality = np.array([[0.8, 0.9, NAN], [0.6, 0.9, NAN]])  # means 0.7, 0.9, none
    loss = np.array([[0.5, 2.0, 1.0], [NAN, 1.0, 1.0]])  # means 0.5, 1.5, 1
    found = per_prompt.compatibility_adjusted(quality, loss, beta=2.0)
    assert found == pytest.approx([0.7 / 2.0, 0.9 / 4.0, NAN], nan_ok=True)
    assert per_prompt.compatibility_adjusted(quality, loss, beta=0.0) == pytest.approx([0.7, 0.9, NAN], nan_ok=True)


def test_a_negative_mean_quality_has_no_compatibility_adjusted_reward() -> None:
    with pytest.raises(ValueError, match="negative"):
        per_prompt.compatibility_adjusted(np.array([[-0.1, 1.0]]), np.array([[1.0, 1.0]]), beta=1.0)


def test_random_spreads_prompts_over_the_teachers_and_hangs_on_the_seed() -> None:
    names = [str(number) for number in range(3000)]
    choice = per_prompt.uniform(3, 0, names)
    counts = np.bincount(choice.teacher_index, minlength=3)
    assert (np.abs(counts - 1000) < 150).all()
    assert (per_prompt.uniform(3, 1, names).teacher_index != choice.teacher_index).any()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_mix_gives_the_strong_teacher_its_share(share: float) -> None:
    names = [str(number) for number in range(5000)]
    index = per_prompt.mix(1, 2, share, 0, names).teacher_index
    assert set(index.tolist()) <= {1, 2}
    assert (index == 1).mean() == pytest.approx(share, abs=0.03)
    if share in (0.0, 1.0):
        assert (index == 1).mean() == share


BEST_IS_FIRST = np.tile([0.9, 0.1, 0.5], (20_000, 1))
NAMES = [str(number) for number in range(20_000)]


def test_exploring_draws_its_share_and_spreads_it_over_the_teachers_that_can_be_asked() -> None:
    choice, drawn, _ = per_prompt.explore(BEST_IS_FIRST, 0.1, [0, 2], 0, NAMES)
    assert drawn.mean() == pytest.approx(0.1, abs=0.01)
    assert (choice.teacher_index[~drawn] == 0).all()
    assert np.bincount(choice.teacher_index[drawn], minlength=3) / drawn.sum() == pytest.approx([0.5, 0, 0.5], abs=0.04)
    assert choice.margin[choice.teacher_index == 2] == pytest.approx(0.5 - 0.9)
    assert (per_prompt.explore(BEST_IS_FIRST, 0.1, [0, 2], 1, NAMES).drawn != drawn).any()


def test_the_probability_of_a_choice_is_that_of_the_draw_and_of_the_router_together() -> None:
    """A tenth is drawn among two: 0.05 for either of them, and 0.9 more for the best."""
    choice, _, probability = per_prompt.explore(BEST_IS_FIRST, 0.1, [0, 2], 0, NAMES)
    assert set(np.round(probability[choice.teacher_index == 0], 9)) == {0.95}
    assert set(np.round(probability[choice.teacher_index == 2], 9)) == {0.05}
    # Each teacher's prompts, divided by their probability, stand for all prompts.
    for teacher in (0, 2):
        assert ((choice.teacher_index == teacher) / probability).mean() == pytest.approx(1.0, abs=0.1)
    alone = per_prompt.explore(BEST_IS_FIRST, 0.1, [1, 2], 0, NAMES)  # the best one cannot be asked: no draw gives it
    assert set(np.round(alone.probability[alone.choice.teacher_index == 0], 9)) == {0.9}


def test_without_a_share_nobody_is_drawn_and_with_all_of_it_everybody() -> None:
    assert not per_prompt.explore(BEST_IS_FIRST, 0.0, [0, 1, 2], 0, NAMES).drawn.any()
    every = per_prompt.explore(BEST_IS_FIRST, 1.0, [0, 1, 2], 0, NAMES)
    assert every.drawn.all()
    assert every.probability == pytest.approx(1 / 3)


def explored(names: list[str]) -> Choice:
    coefficients = np.array([[hash(name) % 97, 40.0, hash(name) % 89] for name in names], float)
    return per_prompt.explore(coefficients, 0.3, [0, 1, 2], 7, names).choice


@pytest.mark.parametrize(
    "route",
    [
        explored,
        lambda names: per_prompt.uniform(3, 7, names),
        lambda names: per_prompt.mix(0, 1, 0.3, 7, names),
        lambda names: per_prompt.highest(np.array([[hash(name) % 97, 40.0, hash(name) % 89] for name in names], float)),
    ],
)
@settings(max_examples=50)
@given(keys, st.randoms(use_true_random=False))
def test_a_prompt_is_routed_the_same_alone_or_among_others_in_any_order(
    route: Callable[[list[str]], Choice], names: list[str], random: object
) -> None:
    together = dict(zip(names, route(names).teacher_index.tolist(), strict=True))
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert dict(zip(shuffled, route(shuffled).teacher_index.tolist(), strict=True)) == together
    assert {name: int(route([name]).teacher_index[0]) for name in names} == together
