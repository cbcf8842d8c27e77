import pytest

from persyn.inference.clients.endpoint import RETRY_AFTER_AT_MOST_S, retry_after_s

NOON = 1_792_497_600.0  # Tue, 20 Oct 2026 12:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Tue, 20 Oct 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 20 Oct 2026 11:00:00 GMT"}, 0.0),  # in the past
        ({"retry-after": "1764072000"}, RETRY_AFTER_AT_MOST_S),  # a date in the wrong form
        ({"retry-after": "Wed, 20 Oct 2082 12:00:00 GMT"}, RETRY_AFTER_AT_MOST_S),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "inf"}, None),  # no date can be computed from it
        ({"retry-after": "-4"}, None),
    ],
)
def test_the_wish_of_a_server_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOON) == seconds
