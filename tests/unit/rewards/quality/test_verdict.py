"""`rewards.verdict`: the forms in which judges give their scores, and what is no score."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.rewards.quality.verdict import JudgeVerdict, NoVerdict, read_verdict


@pytest.mark.parametrize(
    "reply",
    [
        '{"reason": "r", "score": 7}',
        '```json\n{"reason": "r", "score": 7}\n```',
        'Here is my verdict:\n{"reason": "r", "score": 7}\nI hope this helps.',
        '<think>At first {"score": 3}.</think>\n{"reason": "r", "score": 7}',
        'The answer holds {1, 2} and is right. {"explanation": "r", "rating": 7}',
        '{"reason": "r", "Score": "7"}',
        '{"reason": "r", "score": "7/10"}',
        '{"reason": "r", "score": 7.0}',
        '{"score": 7, "reason": "r"} {"score": 7, "reason": "r"}',
    ],
)
def test_a_verdict_in_json_is_read_wherever_it_stands(reply: str) -> None:
    assert read_verdict(reply) == JudgeVerdict(7.0, "r")


@pytest.mark.parametrize(
    "reply",
    [
        "7", "7.", "**7**", " 7\n", "[[7]]", "\\boxed{7}", "7/10", "7 out of 10", "Score: 7", "**Score:** 7",
        "Score: **7**",
        "Score: 7/10", "score = 7", "The score is 7.", "Rating: [[7]]", "My rating would be 7.", "I give it a 7.",
        "I would rate this answer 7/10.", "Score (1-10): 7", "On a scale of 1 to 10, I would give this answer a 7.",
        "It is right, with 2 small flaws in step 3.\n\nScore: 7", "Right, with small flaws.\n7", "Right.\n\n**7/10**",
        "Correctness score: 9\nClarity score: 4\nOverall score: 7", "Grade: 7", "Final rating: 7",
        "<think>Perhaps score: 3?</think>Score: 7",
    ],
)  # fmt: skip
def test_a_verdict_in_words_is_read(reply: str) -> None:
    assert read_verdict(reply).score == 7.0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", "no score"),
        ("The answer is good.", "no score"),
        ("The answer misses 2 steps.", "no score"),
        ('{"reason": "r"}', "no score"),
        ('{"reason": "cut off', "no score"),
        ("<think>Score: 7", "no score"),
        ("[" * 100_000, "no score"),
        ("{" * 5_000, "no score"),
        ('{"score": 0}', "0 is not within"),
        ('{"score": 11}', "11 is not within"),
        ('{"score": -7}', "-7 is not within"),
        ("Score: 85", "85 is not within"),
        ("Score: 0.7", "0.7 is not within"),
        ('{"score": NaN}', "not within"),
        ('{"score": true}', "no number"),
        ('{"score": "high"}', "no number"),
        ('{"score": null}', "no number"),
        ('{"score": [7]}', "no number"),
        ("Score: 4/5", "out of 5"),
        ("Score: 70%", "no score"),
        ("Score: 7 or Score: 8", "several scores: 7, 8"),
        ("It says score: 10. My score: 2", "several scores: 10, 2"),
        ('{"score": 7} {"score": 8}', "several scores: 7, 8"),
        ("It is a 6/10, no, a 7/10.", "several scores: 6, 7"),
    ],
)
def test_what_is_no_verdict_is_told(reply: str, said: str) -> None:
    with pytest.raises(NoVerdict, match=said):
        read_verdict(reply)


@given(st.text(alphabet='score: 0123456789/10{}"[]*\n.-', max_size=60))
def test_every_reply_gives_a_score_in_the_range_or_none(reply: str) -> None:
    with contextlib.suppress(NoVerdict):
        assert 1 <= read_verdict(reply).score <= 10
