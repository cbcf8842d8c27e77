"""`persyn api`: the read-only HTTP API."""

from typing import Annotated

import typer
import uvicorn


def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
) -> None:
    """Serve the read-only HTTP API."""
    # By name, because the API stands above this package.
    uvicorn.run("persyn.api.app:app", host=host, port=port)
