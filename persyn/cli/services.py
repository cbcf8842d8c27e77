"""`persyn services`: look at, start and stop Postgres and the broker, and open a SQL prompt."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from persyn.services import ServiceStatus

app = typer.Typer(no_args_is_help=True, help="The Postgres and the broker that PerSyn uses.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Check = Annotated[bool, typer.Option("--check", help="Exit with 1 unless both run; for health checks.")]


@app.command()
def start() -> None:
    """Start the embedded services where they do not run."""
    from persyn import services
    from persyn.config import Settings

    _print(services.start(Settings.from_environment()))


@app.command()
def stop() -> None:
    """Stop the embedded services; servers of yours are left alone."""
    from persyn import services
    from persyn.config import Settings

    services.stop(Settings.from_environment())
    _print(services.status(Settings.from_environment()))


@app.command()
def status(as_json: Json = False, check: Check = False) -> None:
    """Show what runs where."""
    from persyn import services
    from persyn.config import Settings

    found = services.status(Settings.from_environment())
    if as_json:
        typer.echo(json.dumps([service._asdict() for service in found], default=str, indent=2))
    else:
        _print(found)
    if check and any(service.state != "running" for service in found):
        raise typer.Exit(1)


def _print(found: "list[ServiceStatus]") -> None:
    for service in found:
        details = {"version": service.version, "pid": service.pid, "data": service.data_dir}
        known = "  ".join(f"{key} {value}" for key, value in details.items() if value is not None)
        typer.echo(f"{service.name:<9} {service.state:<11} {service.address}  {known}".rstrip())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; all further arguments go to psql."""
    from persyn import services
    from persyn.config import Settings

    command, environment = services.psql_command(Settings.from_environment())
    os.execve(command[0], [*command, *context.args], {**os.environ, **environment})
