"""The one way to a database connection: where it goes, and what PerSyn counts on once it stands."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from psycopg.pq import Conninfo
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from persyn.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.pool import ConnectionPoolEntry

# A host that lost its power or its cable answers nothing, not even that it is gone. Left to itself the kernel waits a
# quarter of an hour for an acknowledgement, and two hours before it asks an idle connection; a lease lasts 90 s.
SILENCE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}

# A server, a database and a role have defaults of their own; the statements and their limits count on these.
SETTINGS = {
    "jit": "off",  # before 18 Postgres would compile each claim, which takes a hundred times as long as the claim
    "DateStyle": "ISO",  # psycopg reads no other
    "TimeZone": "UTC",
    "statement_timeout": "0",  # a large set takes minutes to enqueue; what must not take long says so itself
    "lock_timeout": "0",
}
_FOR_GOOD = "".join(f"SET {name} = '{value}'; " for name, value in SETTINGS.items())
_FOR_THIS_TRANSACTION = _FOR_GOOD.replace("SET ", "SET LOCAL ")

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
_EXPECTED = "PERSYN_DATABASE_URL: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_ENCODE = f"{_EXPECTED}, with @ : / ? # and % in a user or a password written as %40 %3A %2F %3F %23 and %25."
_KNOWN = {option.keyword.decode() for option in Conninfo.get_defaults()}


def connect(url: str, *, pool_size: int = 5) -> Engine:
    """An engine that drops dead connections, names itself to Postgres and sets what the protocol counts on.

    Raises ConfigError where the address cannot be read.
    """
    address = parts(url)
    engine = create_engine(
        _without_parameters(address),
        isolation_level="READ COMMITTED",  # said in each BEGIN
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # they hold prompts and answers, which belong in no log and no job's history
        connect_args={
            "application_name": "persyn", "connect_timeout": 10, **SILENCE, **address,
            "client_encoding": "utf8",
            # A pooler gives each transaction another session, which does not know what an earlier one prepared.
            "prepare_threshold": None,
        },
    )  # fmt: skip
    event.listen(engine, "connect", _settle, insert=True)  # before what SQLAlchemy asks a first connection
    event.listen(engine, "begin", _settle_again)
    return engine


def parts(url: str) -> dict[str, str]:
    """The parameters that libpq reads from an address, the password among them.

    Raises ConfigError with a sentence that repeats nothing secret.
    """
    scheme, _, rest = url.partition("://")
    query = rest.partition("?")[2]
    if scheme not in _SCHEMES or not rest:
        raise ConfigError(f"{_EXPECTED}.")
    if "@" in query:
        raise ConfigError(_ENCODE)
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in _KNOWN:
            raise ConfigError(f"PERSYN_DATABASE_URL: a Postgres address has no parameter {name!r}; see psql's manual.")
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items()}
    except psycopg.ProgrammingError:  # it may quote a part of the password
        raise ConfigError(_ENCODE) from None
    for port in found.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"{_EXPECTED}; the port must be a number up to 65535.")
    return found


def _without_parameters(address: dict[str, str]) -> URL:
    """The address as logs may show it, with its password masked. The driver gets the whole one beside it."""
    host, port = address.get("host", ""), address.get("port", "")
    named = host and not host.startswith(("/", "@")) and "," not in host + port
    paired = port and port.count(",") == host.count(",")
    return URL.create(
        "postgresql+psycopg", address.get("user"), address.get("password"),
        host if named else None, int(port) if named and port else None, address.get("dbname"),
        {} if named or not host else {"host": host} | ({"port": port} if paired else {}),
    )  # fmt: skip


def _settle(connection: "psycopg.Connection[tuple[int]]", record: "ConnectionPoolEntry") -> None:
    """Set it for the session. Where that is another's than the connection's own, a pooler stands between."""
    connection.autocommit = True
    connection.execute(_FOR_GOOD)
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    record.info["pooled"] = row is None or row[0] != connection.info.backend_pid


def _settle_again(connection: "Connection") -> None:
    """Set it for the transaction that begins: through a pooler it may be in a session that was never settled."""
    if connection.info.get("pooled"):
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        driver.execute(_FOR_THIS_TRANSACTION)


# The SQLSTATE class of a statement beyond the server's limits: it fails again, whenever it is tried.
_TOO_MUCH = "54"
# A server that takes no writes: a replica that is not promoted yet, or one that was the server before.
_READ_ONLY = "25006"
_UNSUPPORTED = "0A000"  # what a replica says to SET TRANSACTION READ WRITE, among much else

DatabaseError = SQLAlchemyError  # what any statement may raise, for callers that hold no SQL


def is_away(error: SQLAlchemyError) -> bool:
    """Whether the server or the way to it is at fault, so that the same statement may work a moment later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if takes_no_writes(error):
        return True
    return isinstance(error, OperationalError | InterfaceError) and not _state(error).startswith(_TOO_MUCH)


def takes_no_writes(error: Exception) -> bool:
    """Whether the server, asked by SQLAlchemy or by the driver, refused because it only reads, as a replica does."""
    return _state(error) == _READ_ONLY or (_state(error) == _UNSUPPORTED and "during recovery" in str(error))


def _state(error: Exception) -> str:
    return getattr(getattr(error, "orig", None) or error, "sqlstate", None) or ""


def is_forbidden(error: SQLAlchemyError) -> bool:
    """Whether the role lacks the right to the statement."""
    return isinstance(error, DBAPIError) and isinstance(error.orig, InsufficientPrivilege)


def in_one_line(error: BaseException) -> str:
    """The driver's own words, without the statement, its many lines and its values."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    primary = getattr(getattr(said, "diag", None), "message_primary", None)  # what follows it may quote a value
    return " ".join((primary or str(said)).split())
