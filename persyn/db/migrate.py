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
from sqlalchemy.exc import DBAPIError, OperationalError

from persyn.db import tables, views
from persyn.errors import SchemaError, ServiceError

_LOCK = 7_326_119_001
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
            yield config
        except CommandError as exc:
            raise SchemaError(
                f"The database's schema cannot be migrated: {exc}. Was it made by a newer version of PerSyn?"
            ) from exc
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
        return _revision(connection), views.are_current(connection)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
