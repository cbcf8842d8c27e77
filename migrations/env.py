"""How Alembic runs migrations: in the transaction that persyn/db/migrate.py has opened, and that it commits."""

from alembic import context

from persyn.db.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, compare_server_default=True
)
context.run_migrations()
