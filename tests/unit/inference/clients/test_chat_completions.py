import pytest

from persyn.inference.clients.chat_completions import retry_after_s, storable

NOON = 1_792_497_600.0  # Tue, 20 Oct 2026 12:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Tue, 20 Oct 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 20 Oct 2026 11:00:00 GMT"}, 0.0),  # in the past
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),  # no date can be computed from it
        ({"retry-after": "-4"}, None),
    ],
)
def test_the_wish_of_a_server_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOON) == seconds


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("\ud83d alone", "\ufffd alone"),
        ("\U0001f600 \n\t", "\U0001f600 \n\t"),  # a whole character beyond the BMP, and white space
    ],
)
def test_only_what_postgres_cannot_store_is_replaced(text: str, stored: str) -> None:
    assert storable(text) == stored
    stored.encode("utf-8")
