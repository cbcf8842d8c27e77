"""`python -m workers`: what `persyn worker` starts on a GPU host."""

import argparse
import logging
import sys
from collections.abc import Sequence

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.errors import ConfigError, PersynError
from persyn.jobs import wake_ups
from workers.app import serve
from workers.worker import Worker


def main() -> int:
    wanted = options(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    # openai logs each request under the name of its HTTP library, and celery each wake-up
    for noisy in ("httpx", "httpx2", "openai", "alembic", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = Settings.from_environment()
    try:
        endpoints = services.connect(settings)
        engine = session.connect(endpoints.database_url)
        if settings.database_url is None:
            migrate.upgrade_if_needed(engine)
        migrate.require_current(engine)
        own = queues(wanted)
        if wanted.metrics_port is not None:
            serve_metrics(wanted.metrics_port)
        queues_served = None if wanted.all else own
        worker = Worker(engine, settings.home, queues=queues_served, tensor_parallel=wanted.tensor_parallel)
        return serve(worker, endpoints.broker_url, own, follow_teachers=wanted.all)
    except PersynError as exc:
        print(f"persyn worker: {exc}", file=sys.stderr)
        return exc.exit_code


def serve_metrics(port: int) -> None:
    """This worker's counters over HTTP. Raises ConfigError where the port cannot be had."""
    from prometheus_client import start_http_server

    try:
        start_http_server(port)
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"--metrics-port {port}: cannot listen there: {exc}.") from exc


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="persyn worker")
    parser.add_argument("--teachers", default="")
    parser.add_argument("--scorers", action="store_true")
    parser.add_argument("--router", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--metrics-port", type=int)
    return parser.parse_args(arguments)


def queues(wanted: argparse.Namespace) -> list[str]:
    names = [wake_ups.teacher_queue(name) for name in wanted.teachers.split(",") if name]
    if wanted.scorers or wanted.all:
        names += [wake_ups.SCORE_QUALITY, wake_ups.SCORE_LEARNABILITY]
    if wanted.router or wanted.all:
        names.append(wake_ups.ROUTER)
    return names


if __name__ == "__main__":  # vLLM spawns processes that import this module
    sys.exit(main())
