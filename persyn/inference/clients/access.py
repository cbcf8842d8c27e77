"""Reads from the environment what an endpoint needs and no table may hold: its key, its headers, its address."""

import os
import re

from persyn import secrets
from persyn.config import VARIABLE, Endpoint, address_problem
from persyn.errors import ConfigError


def read_key(endpoint: Endpoint, owner: str) -> str | None:
    """The endpoint's key from the environment; None where it needs none. `owner`: whose it is, for the sentence.

    Raises ConfigError where it is not set, or holds what no key can. The key itself stands in no message.
    """
    if endpoint.api_key_env is None:
        return None
    return _secret(endpoint.api_key_env, owner, f"which holds the key to {endpoint.url},")


def reachable(endpoint: Endpoint, owner: str) -> Endpoint:
    """The endpoint with the values of the environment in place of each `${NAME}` in its address and headers.

    Raises ConfigError where one is not set, or makes no address.
    """
    url = _filled(endpoint.url, owner, "which holds the address of the endpoint,")
    problem = address_problem(url)
    if problem:
        raise ConfigError(f"{owner}: the address that the environment gives for {endpoint.url} {problem}.")
    headers = {
        name: _filled(value, owner, f"which the header {name} needs,") for name, value in endpoint.headers.items()
    }
    return endpoint.model_copy(update={"url": url, "headers": headers})


def _filled(text: str, owner: str, purpose: str) -> str:
    return re.sub(VARIABLE, lambda found: _secret(found[1], owner, purpose), text)


def _secret(name: str, owner: str, purpose: str) -> str:
    value = os.environ.get(name, "")
    secrets.know(value)
    value = value.strip()
    if not value:
        raise ConfigError(
            f"{owner}: the environment variable {name}, {purpose} is not set on this worker."
            " Set it and start the worker again."
        )
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"{owner}: the environment variable {name} holds characters that no key can have. Set it to the key alone."
        )
    return value
