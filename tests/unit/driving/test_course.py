"""How many prompts may be missing."""

import pytest

from persyn.driving.course import ALLOWED, Allowance
from persyn.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "prompts", "most"),
    [
        ("0", 100, 0),
        ("12", 100, 12),
        ("0%", 100, 0),
        ("2.5%", 2000, 50),
        ("5%", 8, 1),  # a share is rounded up
        ("100%", 7, 7),
        (ALLOWED, 2000, 100),
    ],
)
def test_a_number_or_a_share_may_be_missing(given: str, prompts: int, most: int) -> None:
    assert Allowance.parse(given).of(prompts) == most


@pytest.mark.parametrize("given", ["", "x", "-1", "1.5", "101%", "5 percent"])
def test_anything_else_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigError, match="such as 12 or"):
        Allowance.parse(given)
