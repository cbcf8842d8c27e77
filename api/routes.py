"""The routes. Each opens one connection, asks `reporting`, and answers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from persyn import reporting, runs
from persyn.api import database
from persyn.reporting import gauges

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter()


def _connection(request: Request) -> "Iterator[Connection]":
    with database.engine(request.app).connect() as connection:
        yield connection


Conn = Annotated[Any, Depends(_connection)]
Name = Annotated[str, Path(pattern=r"^[^\x00]*$")]  # Postgres has no text with a NUL in it


@router.get("/health")
def health(conn: Conn) -> dict[str, str]:
    reporting.runs(conn)
    return {"status": "ok"}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    return Response(gauges.render(database.engine(request.app)), media_type=CONTENT_TYPE_LATEST)


@router.get("/runs")
def list_runs(conn: Conn) -> list[dict[str, Any]]:
    return reporting.runs(conn)


@router.get("/runs/{run}")
def run_status(run: Name, conn: Conn) -> dict[str, Any]:
    status = reporting.status(conn, runs.find(conn, run))
    held_up = [] if status.ended else reporting.why_waiting(conn, status.id)
    return status.as_json() | {"waiting_for": [each.sentence for each in held_up]}


@router.get("/runs/{run}/prompts/{prompt}")
def prompt_trail(run: Name, prompt: Name, conn: Conn) -> dict[str, Any]:
    trail = reporting.prompt_trail(conn, run, prompt)
    return {"run_id": trail.run_id} | trail.as_json()
