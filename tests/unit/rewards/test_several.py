"""Rewards of several answers to a prompt, worked by hand."""

from typing import Any

import pytest

from persyn.config import RunConfig, parse_run
from persyn.rewards.matrix import WeighedScorer
from persyn.rewards.several import RawScores, standings

SCORERS = [WeighedScorer(1, "learnability", "loglik", 1.0), WeighedScorer(2, "quality", "math_verify", 1.0)]


def config(**changes: Any) -> RunConfig:
    teachers = [{"name": name, "family": "f", "model": "m"} for name in ("a", "b")]
    raw = {"name": "r", "prompts": "s", "student": {"name": "p", "model": "m"}, "teachers": teachers}
    return parse_run(raw | changes, source="test")


def raw(*values: dict[int, float]) -> list[RawScores]:
    return [RawScores(one) for one in values]


def rewards(groups: Any, scorers: Any, config: Any) -> list[list[float | None]]:
    return [[one.reward for one in group] for group in standings(groups, scorers, config)]


def test_each_prompts_answers_are_combined_by_themselves() -> None:
    first = raw({1: -1.0, 2: 0.0}, {1: -3.0, 2: 1.0}, {1: -2.0, 2: 1.0})
    second = raw({1: -9.0, 2: 1.0}, {1: -8.0, 2: 1.0})  # equal in quality: 0.5 each
    assert rewards([first, second], SCORERS, config(alpha=0.4)) == [
        pytest.approx([0.4, 0.6, 0.8]), pytest.approx([0.3, 0.7]),
    ]  # fmt: skip


def test_an_answer_without_a_score_has_no_reward_and_does_not_stretch_the_others() -> None:
    group = raw({1: -1.0, 2: 0.0}, {2: 9.0}, {1: -2.0, 2: 1.0}, {})
    assert rewards([group], SCORERS, config(alpha=0.4)) == [[pytest.approx(0.4), None, pytest.approx(0.6), None]]


def test_without_prompts_there_are_no_rewards() -> None:
    assert rewards([], SCORERS, config()) == []
    assert rewards([raw({})], SCORERS[1:], config(alpha=0.0)) == [[None]]


def test_larks_gain_is_among_the_answers_to_one_prompt() -> None:
    # L 1 and 3, ρ 0.8 and 0.5: ΣL 4, ΣρL / ΣL = 2.3 / 4 = 0.575; ĝ = 1/4 (1.6 - 0.575), 3/4 (1.0 - 0.575)
    # = 0.25625, 0.31875. By ρ the first would be the easier one.
    two = [RawScores({1: 0.8}, {1: 1.0}), RawScores({1: 0.5}, {1: 3.0})]
    lark = [WeighedScorer(1, "learnability", "lark", 1.0)]
    found = standings([two, two[:1]], lark, config(alpha=1.0))
    assert [[one.reward for one in group] for group in found] == [[0.0, 1.0], [0.5]]
    assert [[one.learnability for one in group] for group in found] == [
        pytest.approx([0.25625, 0.31875]), pytest.approx([0.8]),
    ]  # fmt: skip


def test_learnability_is_the_mean_of_the_measures_that_an_answer_has() -> None:
    two = [WeighedScorer(1, "learnability", "loglik", 1.0), WeighedScorer(3, "learnability", "ifd", 3.0)]
    group = raw({1: -1.0, 3: -2.0}, {1: -5.0}, {})
    assert [one.learnability for one in standings([group], two, config(alpha=1.0))[0]] == [-1.75, -5.0, None]
