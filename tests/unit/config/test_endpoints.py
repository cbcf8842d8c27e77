"""The endpoint's section: which values are refused, in sentences that never hold a secret."""

from typing import Any

import pytest
import yaml

from persyn.config import Endpoint, RunConfig, parse_run
from persyn.errors import ConfigError

SECRET = "sk-not-a-real-key-0001"


def run(endpoint: dict[str, Any]) -> RunConfig:
    teachers = [{"name": name, "family": "f", "model": "m", "endpoint": endpoint} for name in "ab"]
    raw = {"name": "r", "prompts": "p", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    return parse_run(yaml.safe_load(yaml.safe_dump(raw)), source="run.yaml")


@pytest.mark.parametrize(
    "endpoint",
    [
        {"url": "http://127.0.0.1:8000/v1"},
        {"url": "${FAST_URL}"},
        {"url": "https://${HOST}:8000/v1"},
        {"url": "https://x.example.com/openai/v1?api-version=1"},
        {"url": "http://[::1]:8000/v1", "timeout_s": 3600, "headers": {"X-Team": "a"}},
        {"url": "https://x.example.com", "headers": {"api-key": "${AZURE_KEY}", "Authorization": "Bearer ${KEY}"}},
        {"url": "https://x.example.com", "api_key_env": "OPENAI_API_KEY_2"},
    ],
)
def test_an_endpoint_of_each_kind_is_read(endpoint: dict[str, Any]) -> None:
    found = run(endpoint).teachers[0].endpoint
    assert found is not None
    assert found.model_dump(exclude_unset=True) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ({"url": "gpu-1:8000"}, "endpoint.url: the address has no http:// or https:// before it."),
        ({"url": f"http://ann:{SECRET}@gpu-1"}, "endpoint.url: the address holds a user name or a password."),
        ({"url": f"https://x.com/v1?api_key={SECRET}"}, "endpoint.url: the address holds a key in its query."),
        ({"url": "http://gpu-1:PORT/v1"}, "endpoint.url: the address names no host, or no port that there is."),
        ({"url": "http://gpu 1/v1"}, "endpoint.url: the address holds white space"),
        ({"url": "http://x", "api_key_env": SECRET}, "endpoint.api_key_env: this is no name of an environment variab"),
        ({"url": "http://x", "api_key_env": "hf_AbCdEfGhIjKlMnOpQrSt01"}, "endpoint.api_key_env: this is no name of"),
        ({"url": "http://x", "api_key": SECRET}, "endpoint: a key does not belong in this file."),
        ({"url": "http://x", "token": SECRET}, "endpoint: a key does not belong in this file."),
        ({"url": "http://x", "headers": {"X-Api-Key": SECRET}}, "endpoint.headers: the header X-Api-Key holds a secr"),
        ({"url": "http://x", "headers": {"X-Team": "a\nb"}}, "endpoint.headers: the header X-Team holds characters"),
        ({"url": "http://x", "headers": {"Host": "y"}}, "endpoint.headers: a header has a name that cannot be sent"),
        ({"url": "http://x", "timeout_s": 0}, "endpoint.timeout_s: got 0; input should be greater than 0."),
    ],
)
def test_a_mistake_gets_a_sentence_without_the_secret(endpoint: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run(endpoint)
    told = str(refused.value).splitlines()
    assert told[0].startswith(f"run.yaml: teachers[0].{message}")
    assert SECRET not in str(refused.value)
    assert "hf_Ab" not in str(refused.value)


def test_what_an_earlier_version_stored_is_still_read() -> None:
    stored = {"url": "http://ann:pw@gpu-1/v1", "api_key_env": "my_variable_of_the_key_2", "concurrency": 8}
    assert Endpoint.model_validate(stored).concurrency == 8
