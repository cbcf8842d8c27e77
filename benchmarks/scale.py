"""Whether the queue stays quick as its tables grow: claims, status, wake-ups and memory, at 100k jobs and at millions.

A first run of 100k routed prompts is enqueued and measured, then a second one of `--jobs`, of which `--process` are
worked off by two worker processes at zero latency, with the reaper's and the reconciler's rounds beside them. Each
claim takes 64 jobs and each commit stores 64 answers of 1.2 KB. Then some more beside a transaction that stays open, as
a backup's does, so that VACUUM can remove nothing. Then a storm: jobs that wait for a retry, at the front of every
teacher's queue. Latencies are those of the claim's transaction, seen from the worker.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from benchmarks import routed_run
from benchmarks.queue import IN_FLIGHT, answer
from persyn import jobs, reporting
from persyn.db import session
from persyn.stages import generate

PROCESSES = 2
FIRST = 100_000
SAMPLES = 200
ROUNDS = 3
_ROUND_S = 15.0

_STORM = text("""
UPDATE job SET not_before = clock_timestamp() + interval '1 hour' WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY queue ORDER BY not_before, id) AS place
        FROM job WHERE run_id = :run_id AND state = 'ready') AS numbered
    WHERE place <= :each)
""")
_SIZES = text("""
SELECT pg_total_relation_size('job') / greatest(1, (SELECT count(*) FROM job)) AS job,
       pg_total_relation_size('job_event') / greatest(1, (SELECT count(*) FROM job_event)) AS event,
       pg_total_relation_size('generation') / greatest(1, (SELECT count(*) FROM generation)) AS generation,
       pg_total_relation_size('prompt') / greatest(1, (SELECT count(*) FROM prompt)) AS prompt,
       pg_total_relation_size('routing_decision') / greatest(1, (SELECT count(*) FROM routing_decision)) AS decision,
       pg_database_size(current_database()) / 1048576 AS database_mb
""")
_VACUUM = text("""
SELECT relname, n_live_tup, n_dead_tup, autovacuum_count FROM pg_stat_user_tables
WHERE relname IN ('job', 'job_count', 'lease') ORDER BY relname
""")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--process", type=int, default=20_000)
    options = parser.parse_args()
    found: dict[str, Any] = {"jobs": options.jobs, "process": options.process}
    with routed_run.site() as site:
        found["at 100k"] = _at(site.engine, "first", FIRST)
        found[f"at {options.jobs:,}"] = _at(site.engine, "second", options.jobs)
        found["worked off"] = _work_off(site, options.process)
        _show("worked off", found["worked off"])
        found["after that"] = _latencies(site.engine, _run_id(site.engine, "second"))
        _show("after that", found["after that"])
        found["beside a backup"] = _beside_a_backup(site, options.process // 5)
        _show("beside a backup", found["beside a backup"])
        found["in a storm of retries"] = _storm(site.engine, options.jobs // 10)
        _show("in a storm of retries", found["in a storm of retries"])
        with site.engine.connect() as conn:
            found["bytes"] = dict(conn.execute(_SIZES).one()._mapping)
            found["vacuum"] = [dict(row._mapping) for row in conn.execute(_VACUUM)]
        _show("bytes a row, with indexes", found["bytes"])
        _show("tables", {row["relname"]: row for row in found["vacuum"]})
    print(json.dumps(found, default=str))


def _show(title: str, values: dict[str, Any]) -> None:
    print(f"{title}:")
    for name, value in values.items():
        print(f"  {name:<28} {f'{value:,.2f}' if isinstance(value, float) else value}", flush=True)


def _at(engine: Engine, name: str, count: int) -> dict[str, Any]:
    """Enqueue a run of so many and measure; what is claimed for it goes back."""
    run_id = routed_run.create(engine, name, count)
    routed_run.vacuum(engine)
    began = time.perf_counter()
    with engine.begin() as conn:
        generate.enqueue(conn, run_id)
        conn.execute(text("UPDATE run SET prompt_count = :n, decided_count = :n WHERE id = :id"),
                     {"n": count, "id": run_id})  # fmt: skip
    measured = {"enqueued a second": count / (time.perf_counter() - began)} | _latencies(engine, run_id)
    _show(f"with {count:,} jobs more", measured)
    return measured


def _run_id(engine: Engine, name: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text("SELECT id FROM run WHERE name = :name"), {"name": name}).scalar_one())


def _latencies(engine: Engine, run_id: int) -> dict[str, float]:
    """Milliseconds of a claim (50th and 99th of a hundred), of a status and of a look for due work (medians)."""
    rounds = [_claims(engine) for _ in range(ROUNDS)]

    def look(read: Callable[[Any], object]) -> float:
        with engine.connect() as conn:
            return statistics.median(_milliseconds(lambda: read(conn)) for _ in range(20))

    return {
        "claim p50 ms": statistics.median(claims[SAMPLES // 2] for claims in rounds),
        "claim p99 ms": statistics.median(claims[SAMPLES * 99 // 100] for claims in rounds),
        "status ms": look(lambda conn: reporting.status(conn, run_id)),
        "due work ms": look(jobs.waiting),
    }


def _claims(engine: Engine) -> list[float]:
    """The milliseconds of SAMPLES claims in a row, shortest first. What they took goes back."""
    queue = routed_run.teacher_queues()[0]
    with engine.begin() as conn:
        lease_id = jobs.open_lease(conn, worker="measuring", host="here", queue=queue)
    cursor = jobs.ClaimCursor()
    claims = sorted(_milliseconds(lambda: _claim(engine, lease_id, queue, cursor)) for _ in range(SAMPLES))
    with engine.begin() as conn:
        jobs.close(conn, lease_id, "measured")
    return claims


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _claim(engine: Engine, lease_id: int, queue: str, cursor: jobs.ClaimCursor) -> None:
    with engine.begin() as conn:
        assert jobs.claim(conn, lease_id, queue, IN_FLIGHT, cursor=cursor)


def _work_off(site: routed_run.Site, count: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    results: SimpleQueue[Any] = context.SimpleQueue()
    queues = routed_run.teacher_queues()
    workers = [
        context.Process(
            target=_work, args=(site.endpoints.database_url, queues[number::PROCESSES], count // PROCESSES, results)
        )
        for number in range(PROCESSES)
    ]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    reports = [_next(results, site.engine, workers) for _ in workers]
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    claims = sorted(latency for report in reports for latency in report["claims"])
    return {
        "jobs a second": count / seconds,
        "claim p50 ms": claims[len(claims) // 2], "claim p99 ms": claims[len(claims) * 99 // 100],
        "worker memory MB": max(report["memory_mb"] for report in reports),
        "postgres backend memory MB": _backend_mb(site.engine),
    }  # fmt: skip


def _next(results: "SimpleQueue[Any]", engine: Engine, workers: list[Any]) -> Any:
    """The next worker's report; meanwhile this process does a worker's rounds."""
    rounds_at = time.monotonic()
    while results.empty():
        if time.monotonic() - rounds_at > _ROUND_S:
            rounds_at = time.monotonic()
            with engine.begin() as conn:
                jobs.reap(conn)
            with engine.begin() as conn:
                jobs.fold_counts(conn)
        time.sleep(0.1)
        assert all(worker.exitcode in (None, 0) for worker in workers), "a worker process failed; its error is above"
    return results.get()


def _work(database_url: str, queues: list[str], count: int, results: "SimpleQueue[Any]") -> None:
    engine = session.connect(database_url)
    claims: list[float] = []
    for place, name in enumerate(queues, start=1):
        with engine.begin() as conn:
            lease_id = jobs.open_lease(conn, worker=f"bench:{os.getpid()}", host="here", queue=name)
        cursor = jobs.ClaimCursor()
        while len(claims) * IN_FLIGHT < count * place / len(queues):
            began = time.perf_counter()
            with engine.begin() as conn:
                taken = jobs.claim(conn, lease_id, name, IN_FLIGHT, cursor=cursor)
            claims.append((time.perf_counter() - began) * 1000)
            with engine.begin() as conn:
                jobs.heartbeat(conn, lease_id)
                requests = generate.requests(conn, taken)
            with engine.begin() as conn:
                generate.store(conn, lease_id, [answer(request) for request in requests])
        with engine.begin() as conn:
            jobs.close(conn, lease_id, "done")
    results.put({"claims": claims, "memory_mb": _memory_mb("self")})
    engine.dispose()


def _memory_mb(pid: str) -> float:
    """The memory of a process, without the pages that it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _backend_mb(engine: Engine) -> float:
    with engine.connect() as conn:
        return _memory_mb(str(conn.execute(text("SELECT pg_backend_pid()")).scalar_one()))


def _beside_a_backup(site: routed_run.Site, count: int) -> dict[str, float]:
    """Work off `count` jobs while a snapshot from before is held, and measure before it is let go."""
    with site.engine.connect().execution_options(isolation_level="REPEATABLE READ") as backup:
        backup.execute(text("SELECT count(*) FROM run"))
        _work_off(site, count)
        return _latencies(site.engine, _run_id(site.engine, "second"))


def _storm(engine: Engine, count: int) -> dict[str, float]:
    """Let `count` jobs of the second run wait for an hour, the first of each queue, and claim past them."""
    run_id = _run_id(engine, "second")
    with engine.begin() as conn:
        conn.execute(_STORM, {"run_id": run_id, "each": count // routed_run.TEACHERS})
    return _latencies(engine, run_id)


if __name__ == "__main__":
    main()
