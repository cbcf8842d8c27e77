"""The yardsticks of the queue: Celery and Procrastinate, each with one message a prompt, set up to be fast.

Also the module that Celery's worker loads: `celery -A benchmarks.rivals worker`.
"""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from benchmarks import routed_run

app = Celery("rivals", broker=os.environ.get("BENCH_BROKER_URL", "memory://"), set_as_current=False)
app.conf.update(task_ignore_result=True, task_default_queue="rivals", worker_hijack_root_logger=False)

_BATCH = 1000
_CONCURRENCY = 10
_POLL_S = 0.005


class Stopwatch:
    """Takes the seconds of its block, and those of processor time that this process and one server's took in it."""

    def __init__(self, server_pid: int) -> None:
        self._pids = (os.getpid(), server_pid)

    def __enter__(self) -> "Stopwatch":
        self._began, self._used = time.perf_counter(), self._processor_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self.processor_s = self._processor_s() - self._used

    def _processor_s(self) -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._pids]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def backend(conn: Connection) -> int:
    """The server's process behind this connection."""
    return int(conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


@app.task(name="rivals.nothing")  # type: ignore[untyped-decorator]
def nothing(**payload: Any) -> None:
    """The cost of a message when its work costs nothing."""


@app.task(name="rivals.store")  # type: ignore[untyped-decorator]
def store(**payload: Any) -> None:
    """The cost of a message when its answer is kept: one row, one commit."""
    _connection().execute(
        "INSERT INTO rival_answer (prompt_id, text, tokens) VALUES (%s, %s, 250)",
        (payload["prompt_id"], routed_run.ANSWER),
    )


@cache
def _connection() -> "psycopg.Connection[Any]":
    return psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)


def celery(site: routed_run.Site, count: int, payload: dict[str, Any], processes: int) -> Iterator[tuple[str, float]]:
    """Messages a second: sent, consumed by a task that does nothing, consumed by one that stores."""
    with site.engine.begin() as conn:
        conn.exec_driver_sql("DROP TABLE IF EXISTS rival_answer")
        conn.exec_driver_sql("CREATE TABLE rival_answer (prompt_id bigint PRIMARY KEY, text text, tokens int)")
    sender = Celery("sender", broker=site.endpoints.broker_url, set_as_current=False)
    sender.conf.update(task_ignore_result=True)
    for task, label in (("rivals.nothing", "no-op"), ("rivals.store", "storing")):
        with sender.connection_for_write() as connection, connection.Producer() as producer:
            broker = connection.default_channel.client.info()["process_id"]
            with Stopwatch(broker) as watch:
                for number in range(count):
                    sender.send_task(
                        task, kwargs={**payload, "prompt_id": number}, queue="rivals", producer=producer,
                        ignore_result=True,
                    )  # fmt: skip
        if label == "no-op":
            yield "celery enqueue", count / watch.seconds
            yield "celery enqueue, processor", count / watch.processor_s
        yield f"celery process, {label}", count / _consume(site, sender, count, processes)


def _consume(site: routed_run.Site, sender: Celery, count: int, processes: int) -> float:
    """Seconds from the first message that a worker takes to the last; its start is not counted."""
    environment = os.environ | {
        "BENCH_BROKER_URL": site.endpoints.broker_url, "BENCH_DATABASE_URL": _libpq(site.endpoints.database_url),
    }  # fmt: skip
    worker = subprocess.Popen(
        [
            sys.executable, "-m", "celery", "-A", "benchmarks.rivals", "worker", "--queues=rivals", "--loglevel=ERROR",
            f"--concurrency={processes}", "--without-mingle", "--without-gossip", "--without-heartbeat",
        ],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with sender.connection_for_read() as connection:
            channel = connection.default_channel

            def waiting() -> int:
                return int(channel.queue_declare(queue="rivals", durable=True).message_count)

            while waiting() == count:
                time.sleep(_POLL_S)
            began = time.perf_counter()
            while waiting() > 0:
                time.sleep(_POLL_S)
            return time.perf_counter() - began
    finally:
        worker.terminate()
        worker.wait()


def procrastinate(
    site: routed_run.Site, count: int, payload: dict[str, Any], processes: int
) -> Iterator[tuple[str, float]]:
    """Jobs a second: deferred by the thousand, and done by workers whose task does nothing."""
    url = _libpq(site.endpoints.database_url)
    with site.engine.begin() as conn:
        if conn.exec_driver_sql("SELECT to_regclass('procrastinate_jobs')").scalar() is None:
            asyncio.run(_apply_schema(url))
        else:
            conn.exec_driver_sql("TRUNCATE procrastinate_jobs CASCADE")
    began = time.perf_counter()
    asyncio.run(_defer(url, count, payload))
    yield "procrastinate enqueue", count / (time.perf_counter() - began)
    yield "procrastinate process, no-op", count / together(_procrastinate_worker, (url,), processes)


def together(work: Any, arguments: tuple[Any, ...], processes: int) -> float:
    """Seconds that processes need for `work(*arguments, barrier)`, from when all have started."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    workers = [context.Process(target=work, args=(*arguments, barrier)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


async def _apply_schema(url: str) -> None:
    async with _procrastinate(url).open_async() as opened:
        await opened.schema_manager.apply_schema_async()


def _procrastinate(url: str) -> Any:
    from procrastinate import App, PsycopgConnector

    made = App(connector=PsycopgConnector(conninfo=url))

    @made.task(name="rivals.nothing", queue="rivals")
    async def _nothing(**payload: Any) -> None:
        pass

    return made


async def _defer(url: str, count: int, payload: dict[str, Any]) -> None:
    made = _procrastinate(url)
    async with made.open_async():
        task = made.tasks["rivals.nothing"]
        for first in range(0, count, _BATCH):
            last = min(first + _BATCH, count)
            await task.batch_defer_async(*({**payload, "prompt_id": number} for number in range(first, last)))


def _procrastinate_worker(url: str, barrier: Barrier) -> None:
    async def work() -> None:
        made = _procrastinate(url)
        async with made.open_async():
            barrier.wait()
            await made.run_worker_async(
                queues=["rivals"], wait=False, concurrency=_CONCURRENCY, install_signal_handlers=False,
                listen_notify=False,
            )  # fmt: skip

    asyncio.run(work())


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
