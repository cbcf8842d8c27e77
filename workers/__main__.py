"""`python -m workers`: what `persyn worker` starts on a GPU host."""

import argparse
import logging
import sys

from persyn import queue
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.errors import PersynError
from persyn.local import services
from workers.app import serve
from workers.host import Host


def main() -> int:
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    for noisy in (
        "httpx",
        "httpx2",
        "openai",
        "alembic",
    ):  # openai logs each request under the name of its HTTP library
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = Settings.from_environment()
    try:
        endpoints = services.connect(settings)
        engine = session.connect(endpoints.database_url)
        if settings.database_url is None:
            migrate.upgrade_if_needed(engine)
        migrate.require_current(engine)
        host = Host(engine, settings.home)
        return serve(host, endpoints.broker_url, _queues(options), follow_teachers=options.all)
    except PersynError as exc:
        print(f"persyn worker: {exc}", file=sys.stderr)
        return exc.exit_code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="persyn worker")
    parser.add_argument("--teachers", default="")
    parser.add_argument("--scorers", action="store_true")
    parser.add_argument("--router", action="store_true")
    parser.add_argument("--all", action="store_true")
    return parser.parse_args()


def _queues(options: argparse.Namespace) -> list[str]:
    names = [queue.teacher_queue(name) for name in options.teachers.split(",") if name]
    if options.scorers or options.all:
        names += [queue.SCORE_QUALITY, queue.SCORE_LEARNABILITY]
    if options.router or options.all:
        names.append(queue.ROUTER)
    return names


if __name__ == "__main__":  # vLLM spawns processes that import this module
    sys.exit(main())
