"""The broker's address as Celery takes it, and whether a broker answers there."""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from persyn.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from redis import Redis

PROBE_S = 3
_IMPATIENT = {"socket_timeout": PROBE_S, "socket_connect_timeout": PROBE_S}
_NO_DATABASE = re.compile(r"DB index|out of range")  # Redis and Valkey, by the size of the number

_EXPECTED = "PERSYN_BROKER_URL: expected redis://:PASSWORD@HOST:PORT/0, rediss:// or redis+socket://"
_ENCODE = f"{_EXPECTED}, with @ : / ? # and % in a user or a password written as %40 %3A %2F %3F %23 and %25."
_PARAMETERS = (
    "ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "virtual_host",
)  # fmt: skip
_CERT_REQS = ("required", "optional", "none", "CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE")


def address(url: str) -> str:
    """The address, with its certificate checked unless it says otherwise: the broker's library would take any.

    Raises ConfigError with a sentence that repeats nothing secret.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "redis+socket") or not rest:
        raise ConfigError(f"{_EXPECTED}.")
    if "@" in rest.partition("?")[2] or "#" in rest:
        raise ConfigError(_ENCODE)
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    _check_place(scheme, url, options)
    _check_options(options)
    if scheme == "rediss" and "ssl_cert_reqs" not in options:
        return f"{url}{'&' if options else '?'}ssl_cert_reqs=required"
    return url


def _check_place(scheme: str, url: str, options: dict[str, str]) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(_ENCODE) from None
    if scheme != "redis+socket" and not parts.hostname:
        raise ConfigError(f"{_EXPECTED}; it names no host.")
    number = options.get("virtual_host", "") if scheme == "redis+socket" else parts.path.strip("/")
    if number and not (number.isascii() and number.isdigit()):
        raise ConfigError(f"{_EXPECTED}; at its end stands the number of a Redis database, such as 0.")


def _check_options(options: dict[str, str]) -> None:
    for name, value in options.items():
        if name not in _PARAMETERS:
            raise ConfigError(f"PERSYN_BROKER_URL: unknown parameter {name!r}. Known are {', '.join(_PARAMETERS)}.")
        if name == "ssl_cert_reqs" and value not in _CERT_REQS:
            raise ConfigError(f"PERSYN_BROKER_URL: ssl_cert_reqs is {value!r}; it can be {', '.join(_CERT_REQS[:3])}.")


def public(url: str) -> str:
    """The address without its user, password and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def probe(url: str) -> str | None:
    """The version of the broker that answers as it will to a worker; empty where it does not say, None without one."""
    from kombu import Connection  # half a second that `persyn --help` does not need
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    try:
        with Connection(url, transport_options=_IMPATIENT) as connection:
            client = connection.default_channel.client
            client.ping()
            return _version(client)
    except (OperationalError, RedisError, OSError):
        return None


def require_database(url: str) -> None:
    """Raises ServiceError where a broker answers and has no database of this number; one that is away passes."""
    from kombu import Connection
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    try:
        with Connection(url, transport_options=_IMPATIENT) as connection:
            connection.default_channel.client.ping()
    except (OperationalError, RedisError, OSError) as exc:
        said = " ".join(str(exc).split())
        if _NO_DATABASE.search(said):
            raise ServiceError(
                f"The broker at {public(url)} has no database of this number ({said}). Give a smaller one at the end of"
                " PERSYN_BROKER_URL, such as 0, or raise `databases` in its configuration."
            ) from exc


def _version(client: "Redis") -> str:
    from redis.exceptions import RedisError

    try:
        info: Any = client.info("server")
    except RedisError:  # an account that may not ask
        return ""
    return str(info.get("valkey_version") or info.get("redis_version") or "")
