"""Pairs for preference training: the best sound answer against the worst one that may be a counterexample."""

from typing import Any

import pytest

from persyn.exports.pairs import pairs


def made(make_answer: Any, *rewards: float | None, flaws: dict[int, list[str]] | None = None) -> list[Any]:
    return [
        make_answer(text=f"answer {number}", reward=reward, flaw_words=(flaws or {}).get(number, []))
        for number, reward in enumerate(rewards)
    ]


def texts(answers: list[Any], margin: float = 0.0, keep: tuple[Any, ...] = ()) -> tuple[str, str] | None:
    (pair,) = pairs(answers, margin, keep)
    return pair and (pair.chosen.text, pair.rejected.text)


@pytest.mark.parametrize(
    ("rewards", "flaws", "found"),
    [
        ((0.2, 0.9, 0.5), {}, ("answer 1", "answer 0")),
        ((0.2, 0.9, 0.5), {1: ["wrong"]}, ("answer 2", "answer 0")),  # the best is wrong
        ((0.2, 0.9, 0.5), {0: ["wrong"]}, ("answer 1", "answer 0")),  # a wrong one is a good counterexample
        ((0.2, 0.9, 0.5), {0: ["cut"]}, ("answer 1", "answer 2")),  # a cut one would teach its length
        ((0.2, 0.9, None), {}, ("answer 1", "answer 0")),
        ((0.5, 0.5), {}, None),
        ((0.5,), {}, None),
        ((None, None), {}, None),
        ((0.2, 0.9), {0: ["wrong"], 1: ["wrong"]}, None),
    ],
)
def test_the_best_sound_answer_is_chosen_and_the_worst_is_rejected(
    make_answer: Any, rewards: tuple[Any, ...], flaws: dict[int, list[str]], found: Any
) -> None:
    assert texts(made(make_answer, *rewards, flaws=flaws)) == found


def test_a_kept_flaw_may_be_rejected_and_never_chosen(make_answer: Any) -> None:
    cut = made(make_answer, 0.1, 0.9, 0.5, flaws={0: ["cut"], 1: ["cut"]})
    assert texts(cut, keep=("cut",)) == ("answer 2", "answer 0")


@pytest.mark.parametrize(("margin", "is_pair"), [(0.25, True), (0.26, False)])
def test_a_lead_below_the_margin_makes_no_pair(make_answer: Any, margin: float, is_pair: bool) -> None:
    assert (texts(made(make_answer, 0.25, 0.5), margin) is not None) is is_pair


def test_the_same_text_twice_makes_no_pair(make_answer: Any) -> None:
    same = [make_answer(text="same", reward=reward) for reward in (0.1, 0.9)]
    assert texts(same) is None


def test_each_prompt_has_its_own_pair(make_answer: Any) -> None:
    answers = [
        make_answer(prompt_id=prompt, text=f"{prompt} {reward}", reward=reward)
        for prompt in (1, 2) for reward in (0.1, 0.9)
    ]  # fmt: skip
    assert [pair and pair.chosen.text for pair in pairs(answers, 0.0, ())] == ["1 0.9", "2 0.9"]
