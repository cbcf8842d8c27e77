"""`rewards.math_check`: which of the three ways of comparing decides."""

import pytest

from persyn.rewards.quality.math_check import TAIL, check


@pytest.mark.parametrize(
    ("answer", "reference", "method", "value"),
    [
        ("It is \\boxed{72}", "72", "math_verify", 1.0),
        ("It is \\boxed{71}", "72", "math_verify", 0.0),
        ("x72y", "72", "last_number", 1.0),  # no number to math_verify, which wants white space around one
        ("x72y x3y", "72", "last_number", 0.0),
        ("blue", "blue", "text", 1.0),
        ("", "", "text", 0.0),  # nothing is no answer, whatever the reference
    ],
)
def test_the_first_way_that_reads_both_sides_decides(answer: str, reference: str, method: str, value: float) -> None:
    verdict = check(answer, reference)
    assert (verdict["detail"]["method"], verdict["value"]) == (method, value)


def test_what_stands_before_the_tail_is_not_read() -> None:
    assert check("72" + " " * TAIL + "or 71", "72")["value"] == 0.0


def test_the_detail_stays_short() -> None:
    detail = check("9" * 900, "72")["detail"]
    assert max(len(text) for text in detail.values()) <= 200
