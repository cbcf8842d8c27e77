"""The broker's address: what is taken, what is refused, and that nothing secret is repeated."""

import ssl

import pytest
from kombu import Connection

from persyn.errors import ConfigError
from persyn.services import broker


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@broker:6379/0",
        "redis://broker",
        "redis://user:p%40ss@[::1]:6379/15",
        "rediss://b/0?ssl_cert_reqs=none",
        "rediss://b/0?ssl_cert_reqs=CERT_REQUIRED",
        "redis+socket:///run/valkey.sock",
        "redis+socket:///run/valkey.sock?virtual_host=3",
    ],
)
def test_a_broker_address_is_taken_as_it_is(url: str) -> None:
    assert broker.address(url) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://u:secret@mq//", "expected redis://"),
        ("secret", "expected redis://"),
        ("redis://", "expected redis://"),
        ("redis://:secret@/0", "it names no host"),
        ("redis://:secret@broker:6379/5x", "the number of a Redis database"),
        ("redis://:secret@broker:6379/abc", "the number of a Redis database"),
        ("redis+socket:///run/valkey.sock?virtual_host=x", "the number of a Redis database"),
        ("redis://:secret@broker:notaport/0", "written as %40"),
        ("redis://:sec#ret@broker/0", "written as %40"),
        ("redis://:sec?ret@broker/0", "written as %40"),
        ("redis://broker/0?sentinel=x", "unknown parameter 'sentinel'"),
        ("rediss://broker/0?ssl_cert_reqs=maybe", "ssl_cert_reqs is 'maybe'"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match="PERSYN_BROKER_URL: ") as caught:
        broker.address(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://:secret@broker:6379/0", ssl.CERT_REQUIRED),
        ("rediss://:secret@broker:6379/0?ssl_ca_certs=/ca.crt", ssl.CERT_REQUIRED),
        ("rediss://:secret@broker:6379/0?ssl_cert_reqs=none", ssl.CERT_NONE),  # said in so many words
    ],
)
def test_the_brokers_certificate_is_checked_unless_the_address_says_not_to(url: str, verified: ssl.VerifyMode) -> None:
    with Connection(broker.address(url)) as connection:
        assert connection.ssl["ssl_cert_reqs"] == verified


def test_a_plain_broker_needs_no_certificate() -> None:
    with Connection(broker.address("redis://broker:6379/0")) as connection:
        assert not connection.ssl


def test_an_address_is_shown_without_user_password_and_parameters() -> None:
    assert broker.public("rediss://user:secret@b:6379/0?ssl_password=secret") == "rediss://b:6379/0"
