"""The HTTP API: what `persyn status` and `persyn audit` show, read-only, as JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import persyn
from persyn.api import database
from persyn.api.routes import router
from persyn.db import migrate, session
from persyn.errors import NotFound, PersynError, SchemaError, ServiceError


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    database.close(app)


app = FastAPI(title="PerSyn", version=persyn.__version__, lifespan=_lifespan)
app.include_router(router)


@app.exception_handler(session.DatabaseError)
def _away(request: Request, exc: session.DatabaseError) -> JSONResponse:
    if session.is_away(exc):
        return JSONResponse({"error": f"Postgres does not answer: {session.in_one_line(exc)}."}, status_code=503)
    try:
        migrate.require_current(database.engine(request.app))
    except PersynError as why:  # its tables went away
        return _explain(request, why)
    raise exc


@app.exception_handler(PersynError)
def _explain(request: Request, exc: PersynError) -> JSONResponse:
    body: dict[str, Any] = {"error": str(exc)}
    if isinstance(exc, NotFound):
        return JSONResponse(body, status_code=404)
    return JSONResponse(body, status_code=503 if isinstance(exc, ServiceError | SchemaError) else 500)
