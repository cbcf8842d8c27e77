"""A database without a schema, beside the migrated one that every test can have."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from persyn import services
from persyn.db import session


@pytest.fixture
def stranger(endpoints: services.Endpoints) -> Iterator[str]:
    """A role that may log in and nothing else."""
    admin = session.connect(endpoints.database_url)
    name = f"stranger_{uuid.uuid4().hex[:12]}"
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"CREATE ROLE {name} LOGIN"))
        yield name
        conn.execute(text(f"DROP ROLE {name}"))
    admin.dispose()


@pytest.fixture
def as_role() -> Iterator[Callable[[Engine, str], Engine]]:
    """`as_role(engine, role)` is an engine on the same database for another role, which needs no password."""
    made: list[Engine] = []

    def connect(engine: Engine, role: str) -> Engine:
        made.append(session.connect(engine.url.set(username=role, password=None).render_as_string(False)))
        return made[-1]

    yield connect
    for engine in made:
        engine.dispose()


@pytest.fixture
def empty(endpoints: services.Endpoints) -> Iterator[Engine]:
    server = make_url(endpoints.database_url)
    admin = session.connect(server.render_as_string(hide_password=False))
    name = f"persyn_empty_{uuid.uuid4().hex[:12]}"
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
        engine = session.connect(server.set(database=name).render_as_string(hide_password=False))
        yield engine
        engine.dispose()
        conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
