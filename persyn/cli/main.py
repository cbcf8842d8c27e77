"""`persyn`: the commands, and the place where an error becomes a sentence."""

import signal
import sys
from typing import Annotated

import typer

import persyn
from persyn.cli import (
    audit,
    db,
    fleet,
    generations,
    init,
    jobs,
    prompts,
    quickstart,
    rewards,
    router,
    run,
    services,
    worker,
)
from persyn.errors import PersynError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Personalised synthetic data for one student model, by Route then Generate.",
)
app.command()(quickstart.quickstart)
app.command()(init.init)
app.command("run")(run.run)
app.command()(run.calibrate)
app.command()(run.score)
app.add_typer(router.app, name="router")
app.command()(run.route)
app.command()(run.generate)
app.command()(run.export)
app.command()(run.status)
app.command()(run.runs)
app.add_typer(fleet.worker, name="worker")
app.command("workers")(fleet.list_workers)
app.command()(fleet.pause)
app.command()(fleet.resume)
app.command()(worker.api)
app.add_typer(prompts.app, name="prompts")
app.add_typer(generations.app, name="generations")
app.add_typer(rewards.app, name="rewards")
app.add_typer(jobs.app, name="jobs")
app.add_typer(audit.app, name="audit")
app.add_typer(services.app, name="services")
app.add_typer(db.app, name="db")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"persyn {persyn.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except PersynError as exc:
        print(f"persyn: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        print("persyn: stopped by you; nothing is lost, the same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def _terminate(signum: int, frame: object) -> None:
    """An ordinary exit, so that a worker that this call started is told to stop as well."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    main()
