"""The queue's cost for a prompt, against Celery and Procrastinate with a message a prompt, side by side in one run.

All get the same machine, the same Postgres and Valkey, the same two worker processes, and the same 1.2 KB answers:

- **enqueue**: `generation.enqueue`, as the pipeline calls it, jobs and their events in one transaction; against one
  `send_task` a prompt that carries its messages; against Procrastinate's fastest way, `batch_defer`; and against what
  Postgres itself can do: a bare `INSERT … SELECT` of the same rows into an empty table with the same indexes and
  checks, and no events.
- **process**: claim, read the prompts, complete and store the answers with their events, in batches as the workers
  make them; against a real Celery worker (prefork) whose task does nothing at all, and the same with a task that stores
  its answer, one commit each; against Procrastinate's worker, whose task does nothing.

Enqueuing is also measured in processor time, the sender's and the server's together: on a busy machine that says more
than the clock. No model works: this is the queue alone. The rates of the other two hardly depend on how many messages
there are, so `--others` measures them on fewer and the ratios are of rates.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

from sqlalchemy import text

from benchmarks import rivals, routed_run
from persyn import jobs
from persyn.db import session
from persyn.stages import generate

_BARE = text("""
INSERT INTO bare_job (run_id, kind, queue, stage, prompt_id, teacher_id, sample_index)
SELECT run_id, kind, queue, stage, prompt_id, teacher_id, 0 FROM job WHERE run_id = :run_id ORDER BY id
""")
IN_FLIGHT = 64  # what one claim of a worker takes, and one commit stores
PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue")
    parser.add_argument("--jobs", type=int, default=5000, help="routed jobs of ours")
    parser.add_argument("--others", type=int, help="messages of Celery and Procrastinate; as many as jobs unless given")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    others = options.others or options.jobs
    rates: dict[str, list[float]] = {}
    with routed_run.site() as site:
        for number in range(options.repeat):
            for name, rate in _round(site, f"bench{number}", options.jobs, others):
                rates.setdefault(name, []).append(rate)
                print(f"  round {number + 1}: {name:<28} {rate:>10,.0f} /s", flush=True)
    _report({name: statistics.median(found) for name, found in rates.items()}, options, others)


def _report(medians: dict[str, float], options: argparse.Namespace, others: int) -> None:
    print(f"\nmedians of {options.repeat}; {options.jobs:,} jobs of ours, {others:,} messages of the others")
    for name, rate in medians.items():
        print(f"{name:<28} {rate:>10,.0f} /s")
    for ours, theirs in (
        ("enqueue", "bare insert"),
        ("enqueue", "celery enqueue"),
        ("enqueue", "procrastinate enqueue"),
        ("enqueue, processor", "celery enqueue, processor"),
        ("process", "celery process, no-op"),
        ("process", "celery process, storing"),
        ("process", "procrastinate process, no-op"),
    ):
        print(f"{ours:<18} is {medians[ours] / medians[theirs]:>6.2f} × {theirs}")
    print(json.dumps({"jobs": options.jobs, "others": others, "repeat": options.repeat, "per_second": medians}))


def _round(site: routed_run.Site, name: str, count: int, others: int) -> Iterator[tuple[str, float]]:
    run_id = routed_run.create(site.engine, name, count)
    routed_run.vacuum(site.engine)
    with site.engine.connect() as conn, rivals.Stopwatch(rivals.backend(conn)) as watch:
        generate.enqueue(conn, run_id)
        conn.commit()
    yield "enqueue", count / watch.seconds
    yield "enqueue, processor", count / watch.processor_s
    yield "bare insert", count / _insert(site, run_id)
    yield "process", count / rivals.together(_work, (site.endpoints.database_url,), PROCESSES)
    payload = {"messages": [{"role": "user", "content": routed_run.QUESTION}], "teacher": "t0", "seed": 1}
    yield from rivals.celery(site, others, payload, PROCESSES)
    yield from rivals.procrastinate(site, others, payload, PROCESSES)


def _insert(site: routed_run.Site, run_id: int) -> float:
    """Seconds for the rows alone. The table is made in a transaction of its own, or they would be spared the WAL."""
    with site.engine.begin() as conn:
        conn.execute(text("DROP TABLE IF EXISTS bare_job"))
        conn.execute(text("CREATE TABLE bare_job (LIKE job INCLUDING ALL)"))
    began = time.perf_counter()
    with site.engine.begin() as conn:
        conn.execute(_BARE, {"run_id": run_id})
    return time.perf_counter() - began


def _work(database_url: str, barrier: Barrier) -> None:
    """A worker process that shares the teachers' queues with the others, until nothing is left."""
    engine = session.connect(database_url)
    engine.connect().close()
    barrier.wait()
    for name in routed_run.teacher_queues():
        with engine.begin() as conn:
            lease_id = jobs.open_lease(conn, worker=f"bench:{os.getpid()}", host="here", queue=name)
        cursor = jobs.ClaimCursor()
        while True:
            with engine.begin() as conn:
                requests = generate.requests(conn, jobs.claim(conn, lease_id, name, IN_FLIGHT, cursor=cursor))
            if not requests:
                break
            with engine.begin() as conn:
                generate.store(conn, lease_id, [answer(request) for request in requests])
        with engine.begin() as conn:
            jobs.close(conn, lease_id, "drained")
    engine.dispose()


def answer(request: generate.GenerationRequest) -> generate.NewGeneration:
    return generate.NewGeneration(
        request, text=routed_run.ANSWER, reasoning=None, finish_reason="stop", prompt_tokens=60, completion_tokens=250,
        latency_s=0.0, server_version="none",
    )  # fmt: skip


if __name__ == "__main__":
    main()
