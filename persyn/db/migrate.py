"""Bringing a database's schema to this version's, and saying how the two differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from persyn.db import views
from persyn.db.models import Base
from persyn.errors import SchemaError, ServiceError

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Raises ServiceError where Postgres does not answer, SchemaError where it is at a revision unknown here."""
    with _migrating(engine) as config:
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Raises as `upgrade`."""
    with _migrating(engine) as config:
        command.downgrade(config, revision)


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    config = _config()
    with _reach(engine) as connection:
        config.attributes["connection"] = connection
        try:
            yield config
        except CommandError as exc:
            raise SchemaError(
                f"The database's schema cannot be migrated: {exc}. Was it made by a newer version of PerSyn?"
            ) from exc


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
    """What separates the database from the models and from the views' files; empty when nothing does."""
    with _reach(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        tables = [f"table: {difference}" for difference in compare_metadata(context, Base.metadata)]
        return tables + views.differences(connection)


def upgrade_if_needed(engine: Engine) -> None:
    if _revision(engine) != _head():
        upgrade(engine)


def require_current(engine: Engine) -> None:
    """Raises SchemaError unless the database stands at this version's newest migration."""
    expected, actual = _head(), _revision(engine)
    if actual != expected:
        raise SchemaError(
            f"The database's schema is at {actual or 'nothing'}, this version needs {expected}."
            " Run `persyn db upgrade`."
        )


def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _revision(engine: Engine) -> str | None:
    with _reach(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()
