"""The HTTP API: what `persyn status` and `persyn audit` show, read-only, as JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import persyn
from persyn import services
from persyn.api.routes import router
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.errors import NotFound, PersynError


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = session.connect(services.connect(Settings.from_environment()).database_url)
    migrate.require_current(engine)
    app.state.engine = engine
    yield
    engine.dispose()


app = FastAPI(title="PerSyn", version=persyn.__version__, lifespan=_lifespan)
app.include_router(router)


@app.exception_handler(session.DatabaseError)
def _away(request: Request, exc: session.DatabaseError) -> JSONResponse:
    if not session.is_away(exc):
        raise exc
    return JSONResponse({"error": f"Postgres does not answer: {session.in_one_line(exc)}."}, status_code=503)


@app.exception_handler(PersynError)
def _explain(request: Request, exc: PersynError) -> JSONResponse:
    body: dict[str, Any] = {"error": str(exc)}
    return JSONResponse(body, status_code=404 if isinstance(exc, NotFound) else 500)
