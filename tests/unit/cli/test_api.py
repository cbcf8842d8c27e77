"""Under which names the API answers."""

import pytest

from persyn.cli.api import LOOPBACK, allowed_hosts


@pytest.mark.parametrize(
    ("host", "named", "allowed"),
    [
        ("127.0.0.1", [], [*LOOPBACK]),
        ("localhost", ["persyn.example.com"], [*LOOPBACK, "persyn.example.com"]),
        ("0.0.0.0", [], ["*"]),
        ("0.0.0.0", ["persyn.example.com"], [*LOOPBACK, "persyn.example.com"]),
    ],
)
def test_on_loopback_only_this_machines_names_and_those_given_are_answered(
    host: str, named: list[str], allowed: list[str]
) -> None:
    assert allowed_hosts(host, named) == allowed
