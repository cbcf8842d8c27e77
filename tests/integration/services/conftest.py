"""Embedded services in a folder of their own; short, because a socket's path is."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from persyn import services
from persyn.config import Settings


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """One embedded pair for a module's tests; each test may kill it and begins with `connect`."""
    folder = Path(tempfile.mkdtemp(prefix="persyn-test-", dir="/tmp"))
    settings = Settings(home=folder / "home", database_url=None, broker_url=None)
    yield settings
    services.stop(settings)
    shutil.rmtree(folder)


@pytest.fixture
def fresh() -> Iterator[Settings]:
    """A home in which nothing has ever run."""
    folder = Path(tempfile.mkdtemp(prefix="persyn-test-", dir="/tmp"))
    settings = Settings(home=folder / "home", database_url=None, broker_url=None)
    yield settings
    services.stop(settings)
    shutil.rmtree(folder)
