import os

import pytest

from persyn.config import Endpoint
from persyn.errors import ConfigError
from persyn.inference.clients.access import reachable, read_key
from persyn.secrets import mask

URL = "https://api.example.com/v1"


@pytest.mark.parametrize("spoilt", ["sk-case-0001\n", " sk-case-0001 ", "sk-case-0001\r\n"])
def test_white_space_at_the_ends_of_a_key_is_none_of_it(monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    monkeypatch.setenv("CASE_KEY", spoilt)
    assert read_key(Endpoint(url=URL, api_key_env="CASE_KEY"), "t") == "sk-case-0001"
    assert mask("sk-case-0001") == "***"


@pytest.mark.parametrize("spoilt", ["sk-“case”-0002", "sk-case\n0002", "sk-case-0002\x7f"])
def test_a_key_that_no_header_can_carry_gets_a_sentence_without_it(
    monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    monkeypatch.setenv("CASE_KEY", spoilt)
    with pytest.raises(ConfigError, match=r"^t: the environment variable CASE_KEY holds characters") as refused:
        read_key(Endpoint(url=URL, api_key_env="CASE_KEY"), "t")
    assert "0002" not in str(refused.value)


def test_a_key_that_is_not_set_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASE_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"CASE_KEY, which holds the key to https://api\.example\.com/v1, is not"):
        read_key(Endpoint(url=URL, api_key_env="CASE_KEY"), "t")
    assert read_key(Endpoint(url=URL), "t") is None


def test_the_address_and_the_headers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_URL", "http://gpu-1:8000/v1\n")
    monkeypatch.setenv("TEAM_TOKEN", "tok-0123456789")
    written = Endpoint(url="${FAST_URL}", headers={"X-Team": "a", "X-Token": "Bearer ${TEAM_TOKEN}"})
    found = reachable(written, "t")
    assert found.url == "http://gpu-1:8000/v1"
    assert found.headers == {"X-Team": "a", "X-Token": "Bearer tok-0123456789"}
    assert mask("Bearer tok-0123456789") == "Bearer ***"
    assert "tok-" not in str(written.model_dump())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "FAST_URL, which holds the address of the endpoint, is not set on this worker"),
        ("gpu-1:8000", "the address that the environment gives for ${FAST_URL} has no http:// or https:// before it"),
        ("http://ann:hunter2@gpu-1", "for ${FAST_URL} holds a user name or a password"),
        ("http://gpu-1:port", "for ${FAST_URL} names no host, or no port that there is"),
    ],
)
def test_an_address_that_cannot_be_asked_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str | None, message: str
) -> None:
    monkeypatch.delenv("FAST_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("FAST_URL", value)
    with pytest.raises(ConfigError) as refused:
        reachable(Endpoint(url="${FAST_URL}"), "t")
    assert message in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert os.environ.get("FAST_URL") == value
