"""The ground that a module's cells share. Its servers are this module's alone, because they are stopped and killed."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import Fleet, Ground
from sqlalchemy.engine import make_url
from verdict import record

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.inference.servers.server import Server
from persyn.inference.servers.spec import ServerSpec


@contextmanager
def prepared(folder: Path) -> Iterator[Ground]:
    """Services of their own in this folder, a migrated database, and a stub."""
    settings = Settings(home=folder, database_url=None, broker_url=None)
    stub = Server.start(ServerSpec("stub-model", kind="stub"), folder / "stub")
    try:
        endpoints = services.connect(settings)
        engine = session.connect(endpoints.database_url)
        migrate.upgrade(engine)
        engine.dispose()
        admin = make_url(endpoints.database_url).set(database="postgres").render_as_string(False)
        yield Ground(folder, admin, "persyn", endpoints.broker_url, stub.base_url)
    finally:
        stub.stop()
        services.stop(settings)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="persyn-chaos-") as folder, prepared(Path(folder)) as ground:
        yield ground


@pytest.fixture
def fleet(ground: Ground, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(ground, tmp_path)
    yield fleet
    fleet.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A cell that fails has its line in the table, too."""
    report = yield
    if report.failed and call.excinfo is not None:
        record({"failed": item.name, "why": str(call.excinfo.value).partition("\n")[0]})
    return report
