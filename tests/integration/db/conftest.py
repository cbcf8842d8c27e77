"""A database without a schema, beside the migrated one that every test can have."""

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from persyn import services
from persyn.db import session


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
