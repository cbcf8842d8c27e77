"""`persyn services`: look at, start and stop Postgres and the broker, and open a SQL prompt."""

import json
import os
from typing import Annotated

import typer

from persyn import services
from persyn.cli.options import Json
from persyn.config import Settings

app = typer.Typer(no_args_is_help=True, help="The Postgres and the broker that PerSyn uses.")

Check = Annotated[bool, typer.Option("--check", help="Exit with 1 unless both run; for health checks.")]


@app.command()
def start() -> None:
    """Start the embedded services where they do not run."""
    _print(services.start(Settings.from_environment()))


@app.command()
def stop() -> None:
    """Stop the embedded services; servers of yours are left alone."""
    services.stop(Settings.from_environment())
    _print(services.status(Settings.from_environment()))


@app.command()
def status(as_json: Json = False, check: Check = False) -> None:
    """Show what runs where."""
    servers = services.status(Settings.from_environment())
    if as_json:
        typer.echo(json.dumps([service._asdict() for service in servers], default=str, indent=2))
    else:
        _print(servers)
    if check and any(service.state != "running" for service in servers):
        raise typer.Exit(1)


def _print(servers: list[services.ServiceStatus]) -> None:
    for service in servers:
        details = {"version": service.version, "pid": service.pid, "data": service.data_dir}
        known = "  ".join(f"{key} {value}" for key, value in details.items() if value is not None)
        typer.echo(f"{service.name:<9} {service.state:<11} {service.address}  {known}".rstrip())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; all further arguments go to psql."""
    command, environment = services.psql_command(Settings.from_environment())
    os.execve(command[0], [*command, *context.args], {**os.environ, **environment})
