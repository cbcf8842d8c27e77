"""`persyn worker` and `persyn api`: the long-running processes.

They stand above this package, so they are started, not imported.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from persyn.errors import ConfigError


def worker(
    ctx: typer.Context,
    teachers: Annotated[str, typer.Option("--teachers", metavar="A,B", help="Serve these teachers.")] = "",
    scorers: Annotated[bool, typer.Option("--scorers", help="Score answers.")] = False,
    router: Annotated[bool, typer.Option("--router", help="Train and apply routers.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Do all of it, for every teacher.")] = False,
    gpus: Annotated[str, typer.Option("--gpus", metavar="0,1", help="Use only these GPUs; empty: all.")] = "",
    tensor_parallel: Annotated[
        int, typer.Option("--tensor-parallel", min=1, help="Spread each model over so many of them.")
    ] = 1,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve this worker's Prometheus metrics on this port.")
    ] = None,
) -> None:
    """Work on this host until told to stop (SIGTERM hands back what is unfinished). One worker per group of GPUs."""
    if ctx.invoked_subcommand is not None:
        return
    if not (teachers or scorers or router or everything):
        raise ConfigError("persyn worker: say what it shall do: --teachers A,B, --scorers, --router or --all.")
    arguments = ["--teachers", teachers] if teachers else []
    arguments += ["--tensor-parallel", str(tensor_parallel)]
    environment = os.environ | visible_gpus(gpus, tensor_parallel)
    flags = {"--scorers": scorers, "--router": router, "--all": everything}
    arguments += [flag for flag, given in flags.items() if given]
    arguments += ["--metrics-port", str(metrics_port)] if metrics_port is not None else []
    os.execve(sys.executable, [sys.executable, "-m", "workers", *arguments], environment)


def visible_gpus(gpus: str, tensor_parallel: int) -> dict[str, str]:
    """What the worker and its servers must find in their environment to see these GPUs only. Raises ConfigError."""
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


def api(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
) -> None:
    """Serve the read-only HTTP API."""
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", "api.app:app", "--host", host, "--port", str(port)])


@contextmanager
def local_worker(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for everything, on this host, for as long as the block runs; its log is under `home`."""
    log = home / "logs" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", "--all"], stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=75)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
