import ssl

import pytest

from persyn.jobs import wake_ups


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://:secret@broker:6379/0", ssl.CERT_REQUIRED),
        ("rediss://:secret@broker:6379/0?ssl_ca_certs=/ca.crt", ssl.CERT_REQUIRED),
        ("rediss://:secret@broker:6379/0?ssl_cert_reqs=none", ssl.CERT_NONE),  # said in so many words
    ],
)
def test_the_brokers_certificate_is_checked_unless_the_address_says_not_to(url: str, verified: ssl.VerifyMode) -> None:
    with wake_ups.application(url).connection_for_write() as connection:
        assert connection.ssl["ssl_cert_reqs"] == verified


def test_a_plain_broker_needs_no_certificate() -> None:
    with wake_ups.application("redis://broker:6379/0").connection_for_write() as connection:
        assert not connection.ssl
