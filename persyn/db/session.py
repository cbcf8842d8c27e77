"""The one way to a database connection."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from persyn.errors import ConfigError

# A host that lost its power or its cable answers nothing, not even that it is gone. Left to itself the kernel waits a
# quarter of an hour for an acknowledgement, and two hours before it asks an idle connection; a lease lasts 90 s.
SILENCE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


def connect(url: str, *, pool_size: int = 5) -> Engine:
    """An engine that drops dead connections and names itself to Postgres.

    Raises ConfigError where the URL is no Postgres URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("PERSYN_DATABASE_URL: not a URL; expected postgresql://user@host:5432/database.") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(f"PERSYN_DATABASE_URL: got a {parsed.drivername} URL; expected postgresql://….")
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # they hold prompts and answers, which belong in no log and no job's history
        connect_args={"application_name": "persyn", "connect_timeout": 10, **SILENCE},
    )


# The SQLSTATE class of a statement beyond the server's limits: it fails again, whenever it is tried.
_TOO_MUCH = "54"

DatabaseError = SQLAlchemyError  # what any statement may raise, for callers that hold no SQL


def is_away(error: SQLAlchemyError) -> bool:
    """Whether the server or the way to it is at fault, so that the same statement may work a moment later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return isinstance(error, OperationalError | InterfaceError) and not state.startswith(_TOO_MUCH)


def in_one_line(error: BaseException) -> str:
    """The driver's own words, without the statement, its many lines and its values."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    primary = getattr(getattr(said, "diag", None), "message_primary", None)  # what follows it may quote a value
    return " ".join((primary or str(said)).split())
