"""Bringing a database's schema to this version's, and saying how the two differ.

One migrator works at a time, in one transaction: either the tables and the views are this version's afterwards, or
nothing has changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DependentObjectsStillExist
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from persyn.db import session, tables, views
from persyn.errors import SchemaError, ServiceError

_LOCK = 7_326_119_001
_FOR_AUDITORS = (
    "The role of this address may not read PerSyn's tables, as an auditor's may not: it can ask the views of the schema"
    " audit in psql. Give the commands an address of PerSyn's own role, in PERSYN_DATABASE_URL."
)
MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest revision, and make the audit views anew, whether they need it or not.

    Raises ServiceError where Postgres does not answer; SchemaError where the database is at a revision unknown here, or
    where something that others made stands in the way.
    """
    with _migrating(engine) as config, views.rebuilt(config.attributes["connection"]):
        command.upgrade(config, "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Bring the tables back to a revision. The views go: its own version makes them, by `upgrade`. Raises as that."""
    with _migrating(engine) as config:
        views.drop(config.attributes["connection"])
        command.downgrade(config, revision)


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    config = _config()
    with _reach(engine) as connection, connection.begin():
        # Before the timeouts: another migrator may take longer than any table's lock. They end with the transaction.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # Never for long: every query would queue behind a migrator that waits for its table.
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text("SET LOCAL statement_timeout = '15min'"))
        config.attributes["connection"] = connection
        _refuse_older(connection)
        try:
            _refuse_newer(_revision(connection))
            yield config
        except CommandError as exc:
            raise SchemaError(f"The database's schema cannot be migrated: {exc}.") from exc
        except ProgrammingError as exc:
            if not session.is_forbidden(exc):
                raise
            raise SchemaError(_rights_missing(engine, exc)) from exc
        except DBAPIError as exc:
            if not isinstance(exc.orig, DependentObjectsStillExist):
                raise
            raise SchemaError(
                f"Something that others made stands on PerSyn's tables or views: {exc.orig.diag.message_detail}."
                " Nothing was changed. Drop it, run `persyn db upgrade`, and make it again."
            ) from exc


def _refuse_older(connection: Connection) -> None:
    oldest, actual = ScriptDirectory.from_config(_config()).get_base(), _revision(connection)
    if oldest and actual and actual < oldest:
        raise SchemaError(
            f"The database's schema is at {actual}, and this version can go on from {oldest} at the earliest."
            f" Run `persyn db upgrade` with the version of PerSyn that made {oldest}, then with this one."
        )


def _refuse_newer(actual: str | None) -> None:
    expected = _head()
    if expected and actual and actual > expected:
        raise SchemaError(
            f"The database's schema is at {actual}, which is newer than this version's {expected}. Upgrade PerSyn here."
        )


def _rights_missing(engine: Engine, error: Exception) -> str:
    role, database = engine.url.username or "this role", engine.url.database
    return (
        f"{role} may not make PerSyn's tables and views ({session.in_one_line(error)}), and nothing was changed."
        f" Let the owner of the database {database} say: GRANT CREATE ON DATABASE {database} TO {role};"
        f" GRANT USAGE, CREATE ON SCHEMA public TO {role};"
    )


@contextmanager
def _reach(engine: Engine) -> Iterator[Connection]:
    try:
        connection = engine.connect()
    except OperationalError as exc:
        first_line = str(exc.orig).splitlines()[0] if exc.orig else "no answer"
        raise ServiceError(f"Postgres cannot be reached: {first_line}. Check PERSYN_DATABASE_URL.") from exc
    with connection:
        yield connection


def differences(engine: Engine) -> list[str]:
    """A line for each difference between the database and the models or the views' files."""
    with _reach(engine) as connection:
        return tables.differences(connection) + views.differences(connection)


def upgrade_if_needed(engine: Engine) -> None:
    if _stands_at(engine) != (_head(), True):
        upgrade(engine)


def require_current(engine: Engine) -> None:
    """Raises SchemaError unless the database stands at this version's newest migration, and has its views."""
    expected, (actual, has_views) = _head(), _stands_at(engine)
    _refuse_newer(actual)
    if actual is None and has_views:
        raise SchemaError(_FOR_AUDITORS)
    if actual != expected:
        raise SchemaError(
            f"The database's schema is at {actual or 'nothing'}, this version needs {expected}."
            " Run `persyn db upgrade`."
        )
    if not has_views:
        raise SchemaError("The database's audit views are another version's. Run `persyn db upgrade`.")


def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _stands_at(engine: Engine) -> tuple[str | None, bool]:
    """The database's revision, and whether its views are this version's."""
    with _reach(engine) as connection:
        try:
            return _revision(connection), views.are_current(connection)
        except ProgrammingError as exc:
            if not session.is_forbidden(exc):
                raise
            raise SchemaError(_FOR_AUDITORS) from exc


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
