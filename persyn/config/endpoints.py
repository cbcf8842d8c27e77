"""A server that PerSyn does not start: its address, how it is asked, and what it allows. No secret stands in it."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from persyn.config.secrecy import holds_key
from persyn.config.strict import Strict

VARIABLE = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"
FROM_FILE = "from_file"  # the validation's context: what a person writes now, not what an earlier version stored
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"key|token|secret|passw|auth|credential|cookie|signature|^sig$", re.IGNORECASE)
_KEY = re.compile(r"(key|token|secret|bearer|password|authorization)$", re.IGNORECASE)
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


class Price(Strict):
    """An endpoint's prices, in one currency of your choice; the audit view `cost` multiplies them by the tokens."""

    input: float = Field(ge=0.0, description="per million prompt tokens")
    output: float = Field(ge=0.0, description="per million completion tokens")


class Endpoint(Strict):
    """A server to ask. Nothing in it changes an answer, so none of it makes another teacher or scorer."""

    url: str = Field(description="http:// or https://, or ${NAME} for a variable of the worker's environment")
    api_key_env: str | None = Field(default=None, description="the environment variable that holds the key")
    headers: dict[str, str] = Field(default={}, description="sent with each request; ${NAME} as in url")
    timeout_s: float | None = Field(default=None, gt=0.0, le=86400.0, description="of one request as a whole")
    concurrency: int = Field(default=64, ge=1, le=512, description="the most requests in flight from one worker")
    requests_per_minute: float | None = Field(default=None, gt=0.0, description="by one worker")
    tokens_per_minute: float | None = Field(default=None, gt=0.0, description="read and written, by one worker")
    price: Price | None = None

    @model_validator(mode="before")
    @classmethod
    def _holds_no_key(cls, given: Any) -> Any:
        known = cls.model_fields
        if isinstance(given, dict) and any(_KEY.search(str(key)) for key in given if str(key) not in known):
            raise ValueError(
                "a key does not belong in this file. Put it into an environment variable, and the variable's name"
                " here: api_key_env: EXAMPLE_KEY"
            )
        return given

    @field_validator("url")
    @classmethod
    def _address(cls, url: str, info: ValidationInfo) -> str:
        problem = address_problem(re.sub(rf"^{VARIABLE}", "http://host", re.sub(rf"(?<=.){VARIABLE}", "x", url)))
        if problem and (info.context == FROM_FILE or not url.startswith(("http://", "https://", "${"))):
            raise ValueError(f"the address {problem}")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and (not _NAME.fullmatch(name) or (info.context == FROM_FILE and _looks_like_a_key(name))):
            raise ValueError(
                "this is no name of an environment variable. Put the key into a variable, and the variable's name here,"
                " such as EXAMPLE_KEY"
            )
        return name

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or name.lower() in _OWN_HEADERS:
                raise ValueError("a header has a name that cannot be sent, or that the client sets itself")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"the header {name} holds characters that no header can have")
            is_secret = _SECRET.search(name) or (info.context == FROM_FILE and holds_key(value))
            if is_secret and not re.search(VARIABLE, value):
                raise ValueError(
                    f"the header {name} holds a secret, which does not belong in this file. Put it into an environment"
                    f" variable and write {name}: ${{EXAMPLE_KEY}}"
                )
        return headers


def address_problem(url: str) -> str | None:
    """The reason why an address cannot be asked or stored, as a predicate without a full stop; None where it can be.

    The address itself stands in no sentence, because it may hold a password.
    """
    if not re.match(r"https?://", url, re.IGNORECASE):
        return "has no http:// or https:// before it. Write which of the two it is"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "holds white space or characters that no address can have"
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            return "names no host, or no port that there is"
    except ValueError:
        return "names no host, or no port that there is"
    if "@" in parts.netloc:
        return "holds a user name or a password. Leave them out, and name the variable of the key in api_key_env"
    if any(_SECRET.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return "holds a key in its query. Leave it out, and name the variable of the key in api_key_env or headers"
    return None


def _looks_like_a_key(name: str) -> bool:
    """Whether a name is so long and so mixed that it is a key which was pasted in place of one."""
    return len(name) >= 20 and name != name.upper() and (name != name.lower() or any(map(str.isdigit, name)))
