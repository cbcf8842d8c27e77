"""`persyn`: the commands, and the place where an error becomes a sentence."""

import logging
import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import persyn
from persyn import logs
from persyn.cli.lazy import Entry, LazyGroup
from persyn.errors import MissingExtra, PersynError, ServiceError

# What the extras `train` and `students` bring.
TRAIN = ("torch", "transformers", "safetensors", "accelerate", "sklearn")
STUDENTS = ("trl", "peft")
INTERRUPTED = 128 + signal.SIGINT

# `persyn worker` stands above this package: it is named here, and nothing below imports it.
COMMANDS = {
    "quickstart": Entry(
        "persyn.cli.quickstart:quickstart", "Run Route then Generate end to end on the bundled prompts and models."
    ),
    "init": Entry(
        "persyn.cli.init:init",
        "Write a commented run configuration to start from, and beside it its JSON Schema for editors.",
    ),
    "check": Entry(
        "persyn.cli.check:check",
        "Check a run before anything is spent, and estimate what it would take: answers, tokens, hours, money.",
    ),
    "run": Entry(
        "persyn.cli.run:run",
        "Take a run from its YAML to its export; kill it whenever you like, the next call goes on.",
    ),
    "calibrate": Entry(
        "persyn.cli.run:calibrate",
        "Stop once every teacher has answered the calibration prompts. RUN may be a YAML that is new.",
    ),
    "score": Entry("persyn.cli.run:score", "Stop once the calibration answers are scored."),
    "route": Entry("persyn.cli.run:route", "Stop once every prompt has its teacher."),
    "generate": Entry("persyn.cli.run:generate", "Stop once every teacher has answered its own prompts."),
    "export": Entry("persyn.cli.export:export", "Write the set that the run has so far, and a manifest of it."),
    "status": Entry("persyn.cli.status:show_status", "Show how far a run is, stage by stage, and what holds it up."),
    "runs": Entry("persyn.cli.runs:app", "List the runs; cancel, resume or delete one."),
    "workers": Entry(
        "persyn.cli.fleet:list_workers",
        "Show who works where: state, queue, tokens a second, jobs held; and what its host cannot do.",
    ),
    "pause": Entry(
        "persyn.cli.fleet:pause", "Hold back a teacher's queue, any queue, or a run. What is in flight finishes."
    ),
    "resume": Entry("persyn.cli.fleet:resume", "Let a teacher's queue, any queue, or a run go on."),
    "api": Entry("persyn.cli.api:api", "Serve the read-only HTTP API."),
    "router": Entry("persyn.cli.router:app", "The router of a run."),
    "reroute": Entry("persyn.cli.reroute:app", "Ask further teachers where an answer is not good enough."),
    "student": Entry("persyn.cli.student:app", "Train a run's student on its set, examine it, and take it away."),
    "compare": Entry(
        "persyn.cli.compare:compare",
        "Compare the sets of the run's policies, and their students' results on problems that none has seen.",
    ),
    "worker": Entry("persyn.workers.__main__:app", "Work on this host, or let a worker leave."),
    "prompts": Entry("persyn.cli.prompts:app", "Import prompts into a set, correct them, look at them, delete them."),
    "generations": Entry("persyn.cli.generations:app", "Import answers that exist already."),
    "rewards": Entry("persyn.cli.rewards:app", "Ask the stored scores, without computing anything anew."),
    "jobs": Entry("persyn.cli.jobs:app", "The jobs, one by one."),
    "audit": Entry("persyn.cli.audit:app", "Ask why a row is as it is, and whether all invariants hold."),
    "monitoring": Entry(
        "persyn.cli.monitoring:monitoring",
        "Write alert rules and a scrape file for Prometheus, and a dashboard for Grafana, into a folder.",
    ),
    "services": Entry("persyn.cli.services:app", "The Postgres and the broker that PerSyn uses."),
    "db": Entry("persyn.cli.db:app", "The database's schema."),
}


class Commands(LazyGroup):
    """All of `persyn`'s commands."""

    entries = COMMANDS


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Personalised synthetic data for one student model, by Route then Generate.",
)


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
    # The Pythons that this one starts find PerSyn where it is installed, never in the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    # NumPy reads it when it is imported. A command's matrices are small: one thread is the fastest, and on a busy
    # machine several wait for each other without end.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows what it can
    try:
        app()
    except PersynError as exc:
        if logs.is_json():
            logging.getLogger("persyn").error("%s", exc)
        else:
            print(f"persyn: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except ModuleNotFoundError as exc:
        if exc.name not in (*TRAIN, *STUDENTS):
            raise
        extra = "students" if exc.name in STUDENTS else "train"
        print(f"persyn: this needs {exc.name}, which is not installed here. Run pip install 'persyn[{extra}]'.",
              file=sys.stderr)  # fmt: skip
        sys.exit(MissingExtra.exit_code)
    except Exception as exc:
        if not (told := _of_postgres(exc)):
            raise
        print(f"persyn: {told}", file=sys.stderr)
        sys.exit(ServiceError.exit_code)
    except SystemExit as exc:
        if exc.code == INTERRUPTED:  # typer makes it of a KeyboardInterrupt
            print("persyn: stopped by you; nothing is lost, the same command goes on from here.", file=sys.stderr)
        raise


def _of_postgres(exc: Exception) -> str | None:
    """The sentence for a command that Postgres left in its middle; None for an error of another kind."""
    from persyn.db import session  # noqa: PLC0415 - `persyn --help` needs no database

    if session.takes_no_writes(exc):
        return f"Postgres takes no writes: {session.in_one_line(exc)}. Give PERSYN_DATABASE_URL the primary's address."
    if isinstance(exc, session.DatabaseError) and session.is_away(exc):
        why = session.in_one_line(exc).rstrip(".")
        return f"Postgres went away: {why}. What was not committed is undone; call the command again."
    return None


def _terminate(signum: int, frame: object) -> None:
    """Make it an ordinary exit, so that a worker that this call started is told to stop as well."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    main()
