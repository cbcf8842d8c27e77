"""The last line of a run: how many rows, how many are missing, and why."""

import pytest

from persyn.reporting import Outcome


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(2000, {}, 0), "2,000 of 2,000 prompts have their answer"),
        (
            Outcome(1992, {"bad_request": 3, "context_too_long": 5}, 0),
            "1,992 of 2,000 prompts have their answer; 8 missing: 5 context_too_long, 3 bad_request",
        ),
        (Outcome(0, {"cancelled": 4}, 2), "0 of 4 prompts have their answer; 4 missing: 4 cancelled"),  # two came later
    ],
)
def test_an_outcome_is_told_in_one_line(outcome: Outcome, told: str) -> None:
    assert outcome.sentence() == told
