"""`persyn worker`: what runs on a GPU host. Its options are declared here, and nowhere else."""

import logging
import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from persyn import logs, versions
from persyn.cli import context, fleet
from persyn.cli.options import LogFormat, LogLevel
from persyn.config import Settings
from persyn.errors import ConfigError
from persyn.jobs import wake_ups
from persyn.workers import health
from persyn.workers.app import serve
from persyn.workers.check_in import Leave
from persyn.workers.worker import Worker, own_name

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Work on this host, or let a worker leave.")
app.command()(fleet.drain)


@app.callback(invoke_without_command=True)
def work(
    ctx: typer.Context,
    teachers: Annotated[str, typer.Option("--teachers", metavar="A,B", help="Serve these teachers.")] = "",
    scorers: Annotated[bool, typer.Option("--scorers", help="Score answers.")] = False,
    router: Annotated[bool, typer.Option("--router", help="Train and apply routers.")] = False,
    trainers: Annotated[bool, typer.Option("--trainers", help="Train students.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Do all of it, for every teacher.")] = False,
    gpus: Annotated[str, typer.Option("--gpus", metavar="0,1", help="Use only these GPUs; empty: all.")] = "",
    tensor_parallel: Annotated[
        int, typer.Option("--tensor-parallel", min=1, help="Spread each model over so many of them.")
    ] = 1,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics and /healthz on this port.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Where that port listens; 0.0.0.0 lets other machines ask.")
    ] = "127.0.0.1",
    exit_when_idle: Annotated[str | None, typer.Option(metavar="10m", help="Leave after so long without work.")] = None,
    at_most: Annotated[
        str | None, typer.Option("--for", metavar="3h50m", help="Claim nothing more after this, finish, and leave.")
    ] = None,
    load_timeout: Annotated[
        str,
        typer.Option(envvar="PERSYN_LOAD_TIMEOUT", metavar="15m", help="Give a model's server so long to come up."),
    ] = "15m",
    log_level: LogLevel = logs.Level.INFO,
    log_format: LogFormat = logs.Format.TEXT,
) -> None:
    """Work on this host until told to stop (SIGTERM hands back what is unfinished). One worker per group of GPUs."""
    if ctx.invoked_subcommand is not None:
        return
    own = queues(teachers, scorers=scorers or everything, router=router or everything, trainers=trainers or everything)
    if not own:
        raise ConfigError(
            "persyn worker: say what it shall do: --teachers A,B, --scorers, --router, --trainers or --all."
        )
    leave = Leave(*(None if given is None else fleet.seconds(given) for given in (exit_when_idle, at_most)))
    os.environ |= visible_gpus(gpus, tensor_parallel)
    logs.to_stderr(log_level, log_format, worker=own_name())
    engine, home = context.engine(may_begin=True), Settings.from_environment().home
    _warn_of_unknown(engine, own)
    worker = Worker(
        engine, home, queues=None if everything else own, tensor_parallel=tensor_parallel,
        load_s=fleet.seconds(load_timeout),
    )  # fmt: skip
    if metrics_port is not None:
        health.serve(metrics_host, metrics_port, worker.trouble)
    raise typer.Exit(serve(worker, context.broker_url(), own, follow_teachers=everything, leave=leave))


def _warn_of_unknown(engine: "Engine", own: list[str]) -> None:
    with engine.connect() as conn:
        known = versions.teacher_names(conn)
    unknown = [name for queue in own if (name := wake_ups.teacher_of(queue)) is not None and name not in known]
    if unknown:
        logging.getLogger(__name__).warning(
            "action=start no run has a teacher called %s; known are: %s", ", ".join(unknown), ", ".join(known) or "none"
        )


def queues(teachers: str, *, scorers: bool, router: bool, trainers: bool) -> list[str]:
    """The queues of the teachers named with commas between, of the scorers, of the router, and of the students."""
    names = [wake_ups.teacher_queue(name) for given in teachers.split(",") if (name := given.strip())]
    if scorers:
        names += [wake_ups.SCORE_QUALITY, wake_ups.SCORE_LEARNABILITY]
    if router:
        names.append(wake_ups.ROUTER)
    if trainers:
        names.append(wake_ups.TRAIN)
    return names


def visible_gpus(gpus: str, tensor_parallel: int) -> dict[str, str]:
    """The environment in which the worker and its servers see these GPUs only. Raises ConfigError."""
    if not gpus:
        return {}
    chosen = [gpu.strip() for gpu in gpus.split(",")]
    if not all(re.fullmatch(r"\d+|(GPU|MIG)-[0-9A-Za-z-]+", gpu) for gpu in chosen) or len({*chosen}) < len(chosen):
        raise ConfigError(f"--gpus {gpus}: expected different numbers or UUIDs of GPUs with commas between, as in 0,1.")
    if tensor_parallel > len(chosen):
        raise ConfigError(
            f"--tensor-parallel {tensor_parallel}: --gpus names {len(chosen)} of them. Name more, or spread less."
        )
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen)}
