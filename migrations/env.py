"""How Alembic reaches the database.

One migrator works at a time; it never waits for a table's lock for long, because every query would queue behind it.
"""

from alembic import context
from sqlalchemy import Connection, text

from persyn.db.models import Base

MIGRATION_LOCK = 7_326_119_001


def run(connection: Connection) -> None:
    # Before the timeouts: another migrator may take longer than any table's lock.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.execute(text("SET statement_timeout = '15min'"))
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("RESET statement_timeout"))
        connection.commit()


run(context.config.attributes["connection"])
