"""Agreement with other teachers' answers, through the real child process."""

from typing import Any

import pytest

from persyn.errors import JobFailed
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.consensus import consensus_score

VOTES = {"b": "The answer is 8.", "c": "so \\boxed{8}", "d": "It is 9.", "e": "I like trains.", "f": "**16/2**"}


def agreed(answer: str, votes: dict[str, str] = VOTES) -> Measurement:
    result = consensus_score(answer, votes)
    assert isinstance(result, Measurement), result
    return result


def failure(answer: str, votes: dict[str, str]) -> str:
    result = consensus_score(answer, votes)
    assert isinstance(result, JobFailed), result
    assert result.permanent
    return result.code


def test_the_value_is_the_share_of_the_others_with_the_same_final_answer() -> None:
    assert agreed("#### 8") == Measurement(
        3 / 5,
        {"answer": "8", "basis": "stated", "voted": 5, "agreed": 3, "agree": ["b", "c", "f"], "differ": ["d", "e"],
         "unclear": []},
    )  # fmt: skip
    assert agreed("In all it is 9 apples.").value == 1 / 5


def test_each_answer_to_a_prompt_by_hand() -> None:
    texts = {"a": "\\boxed{8}", **VOTES}
    values = {
        name: agreed(text, {other: said for other, said in texts.items() if other != name}).value
        for name, text in texts.items()
    }
    assert values == {"a": 0.6, "b": 0.6, "c": 0.6, "d": 0.0, "e": 0.0, "f": 0.6}


def test_options_and_words_agree_too() -> None:
    votes = {"b": "I choose (B). The answer is B.", "c": "The answer is (C) 5.", "d": "\\boxed{B}"}
    assert agreed("Answer: (B) 12", votes).detail["agree"] == ["b", "d"]
    assert agreed("The capital has 2 rivers. The answer is Paris.", {"b": "\\boxed{\\text{Paris}}"}).value == 1.0


def test_what_has_no_final_answer_agrees_with_nobody() -> None:
    silent = agreed("I like trains.")
    assert (silent.value, silent.detail["voted"], silent.detail["agreed"], silent.detail["answer"]) == (0.0, 5, 0, "")
    assert agreed("").value == 0.0
    assert agreed("8", {"b": "I like trains."}).value == 0.0


def test_prompts_without_final_answers_get_no_verdict() -> None:
    assert failure("I like trains.", {"b": "So do I!", "c": ""}) == "no_final_answer"


def test_nobody_to_compare_with_is_said() -> None:
    assert failure("8", {}) == "nobody_to_compare"


def test_a_vote_that_nobody_can_compare_is_left_out_of_the_count() -> None:
    result = agreed("The answer is 42.", {"b": "The answer is B.", "c": "42"})
    assert (result.value, result.detail["voted"], result.detail["unclear"]) == (1.0, 1, ["b"])
    assert failure("The answer is 42.", {"b": "The answer is B."}) == "unchecked"


def test_what_nobody_can_read_agrees_with_nobody_unless_the_text_calls_it_its_answer() -> None:
    assert agreed("8", {"b": "so we get 1) + (k/(5+k) * -1"}).detail["differ"] == ["b"]
    assert failure("\\boxed{8}", {"b": "\\boxed{\\frac{8}{}"}) == "unchecked"


HOSTILE: list[tuple[str, Any]] = [
    ("x" * 100_000, 0.0),
    ("8 " * 50_000, None),
    ("\\boxed{" * 5_000, None),
    ("<think>" * 5_000 + "8", None),
    ("a\u202e\u2066\U000e0041\ufffe \ud7ff\ue000\uf8ff", None),
    ("\\boxed{9^{9^{9^{9^9}}}}", None),  # takes the child process down
    ("\\boxed{}}}{{{\\text{", None),
]


@pytest.mark.parametrize(("text", "value"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_answer_harms_no_other(text: str, value: float | None) -> None:
    result = consensus_score(text, {"b": "8", "c": "8"})
    if value is not None:
        assert isinstance(result, Measurement)
        assert result.value == value
    # As a vote it is left out or differs; the honest ones still agree.
    beside = agreed("8", {"b": "8", "hostile": text})
    assert "b" in beside.detail["agree"]
    assert agreed("8", {"b": "8"}).value == 1.0
