"""The API's engine, made at the first request that finds the database there, so that the API may start before it."""

import threading
from typing import TYPE_CHECKING

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.errors import PersynError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy import Engine

_MAKING = threading.Lock()


def engine(app: "FastAPI") -> "Engine":
    """Raises ServiceError where the database is not there yet, SchemaError where its tables are not this version's."""
    with _MAKING:
        made: Engine | None = getattr(app.state, "engine", None)
        if made is None:
            made = session.connect(services.connect(Settings.from_environment()).database_url)
            try:
                migrate.require_current(made)
            except PersynError:
                made.dispose()
                raise
            app.state.engine = made
    return made


def close(app: "FastAPI") -> None:
    """Give the connections back."""
    made: Engine | None = getattr(app.state, "engine", None)
    if made is not None:
        made.dispose()
        app.state.engine = None
