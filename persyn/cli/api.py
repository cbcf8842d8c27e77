"""`persyn api`: the read-only HTTP API."""

from typing import Annotated

import typer
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.importer import import_from_string

from persyn import logs
from persyn.cli import context
from persyn.cli.options import LogFormat, LogLevel

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Answer to this name in a request's Host, such as your proxy's; repeatable."),
    ] = None,
    log_level: LogLevel = logs.Level.INFO,
    log_format: LogFormat = logs.Format.TEXT,
) -> None:
    """Serve the read-only HTTP API."""
    logs.to_stderr(log_level, log_format)
    context.engine().dispose()  # what is wrong with the database is a sentence here
    # By name, because the API stands above this package.
    app = import_from_string("persyn.api.app:app")
    answered = TrustedHostMiddleware(app, allowed_hosts(host, allow_host or []))
    uvicorn.run(answered, host=host, port=port, log_config=None)


def allowed_hosts(host: str, named: list[str]) -> list[str]:
    """The names under which the API answers. A page of a stranger's, whose name was made to lead here, is none of them.

    Where it listens to other machines and is told no name, it answers under any.
    """
    return [*LOOPBACK, *named] if named or host in LOOPBACK else ["*"]
