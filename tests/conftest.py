"""What all tests share: a real Postgres and a real broker.

By default the embedded pair, started once for the session in a folder of its own.
With PERSYN_DATABASE_URL and PERSYN_BROKER_URL set, the same tests run against those servers, in databases of their own.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from persyn.config import Settings
from persyn.db import migrate, session
from persyn.local import services

# How long an example takes is no property of the code.
hypothesis.settings.register_profile("persyn", deadline=None)
hypothesis.settings.load_profile("persyn")

SHARED_DATA = os.environ.get("PERSYN_TEST_DATA")


@pytest.fixture(scope="session")
def endpoints() -> Iterator[services.Endpoints]:
    """The addresses of the session's Postgres and broker."""
    with tempfile.TemporaryDirectory(prefix="persyn-test-") as folder:
        settings = Settings.from_environment()._replace(home=Path(folder))
        try:
            yield services.connect(settings)
        finally:
            services.stop(settings)


def _execute(url: URL, statement: str) -> None:
    admin = session.connect(url.render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    admin.dispose()


@pytest.fixture(scope="session")
def template(endpoints: services.Endpoints) -> Iterator[URL]:
    """A migrated database that each test's own is copied from."""
    server = make_url(endpoints.database_url)
    url = server.set(database=f"persyn_template_{uuid.uuid4().hex[:12]}")
    _execute(server, f"CREATE DATABASE {url.database}")
    engine = session.connect(url.render_as_string(hide_password=False))
    migrate.upgrade(engine)
    engine.dispose()
    yield url
    _execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")


@pytest.fixture
def database_url(endpoints: services.Endpoints, template: URL) -> Iterator[str]:
    """The URL of a migrated, empty database that only this test uses."""
    server = make_url(endpoints.database_url)
    url = server.set(database=f"persyn_test_{uuid.uuid4().hex[:12]}")
    _execute(server, f"CREATE DATABASE {url.database} TEMPLATE {template.database}")
    yield url.render_as_string(hide_password=False)
    _execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = session.connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that PERSYN_TEST_DATA names, or `../shared/data` beside the repository."""
    folder = Path(SHARED_DATA) if SHARED_DATA else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder
