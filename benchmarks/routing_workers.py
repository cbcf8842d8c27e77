"""Routing on several workers: prompts a second of each number of processes, memory, and a plan for a million prompts.

One run calibrates on answers with made-up scores and trains a router with the default backbone. Then as many workers as
asked for, each a process with one thread, route a set of their own by that router, as `persyn worker --router` does.
The clock runs from the first batch of decisions (or coefficients) to the last, without the loading of the models.
Memory is each process's largest so far, after its first range and after its last: what grows with the set shows in the
difference. With `--policy budgeted` one job decides at the end, timed apart. More processes than cores show no ratio.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from benchmarks import routed_run
from persyn import jobs, runs
from persyn.config import RunConfig
from persyn.db import session
from persyn.jobs import wake_ups
from persyn.stages import generate, pipeline, ranges, score
from persyn.states import Stage
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker

TEACHERS = 4
PLAN = 1_000_000

_PROMPTS = text("""
INSERT INTO prompt (prompt_set_id, position, sha256, messages, reference_answer)
SELECT :set_id, n, encode(sha256(convert_to(:name || n, 'UTF8')), 'hex'),
       jsonb_build_array(jsonb_build_object('role', 'user', 'content',
                                            repeat(replace(:question, '{}', n::text), 1 + CAST(n AS int) % 4))), n::text
FROM generate_series(1, CAST(:prompts AS bigint)) AS n
""")
# The first and the last of what the workers stored.
_SPAN = text("""
WITH stored AS (
    SELECT created_at FROM routing_decision WHERE run_id = :run_id AND basis = 'router'
    UNION ALL SELECT created_at FROM routing_coefficients WHERE run_id = :run_id
)
SELECT count(*) AS prompts, extract(epoch FROM max(created_at) - min(created_at)) AS seconds FROM stored
""")


class Measured(NamedTuple):
    """The work of some workers on one set."""

    per_second: float
    first_mb: float  # the largest memory of a worker after its first range
    last_mb: float  # and after its last
    decision_s: float | None  # of the job that decides about the whole set


class _Watched(Worker):
    """A worker that notes its memory whenever a job is done."""

    def __init__(self, engine: Engine, home: Path) -> None:
        super().__init__(engine, home, queues=[wake_ups.ROUTER])
        self.peaks_mb: list[float] = []

    def must_yield(self, current: str) -> bool:
        self.peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return super().must_yield(current)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing_workers")
    parser.add_argument("--prompts", type=int, default=4096, help="of each set; a range each has 2,048")
    parser.add_argument("--range", type=int, default=ranges.PROMPTS, help="prompts of a range")
    parser.add_argument("--workers", default="1,2", help="numbers of processes, as 1,2,4 on four cores")
    parser.add_argument("--calibration", type=int, default=200, help="prompts that the router learns from")
    parser.add_argument("--policy", choices=["persyn", "budgeted"], default="persyn")
    options = parser.parse_args()
    numbers = [int(number) for number in options.workers.split(",")]
    ranges.PROMPTS = options.range
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started from here
    cores = len(os.sched_getaffinity(0))
    found: dict[int, Measured] = {}
    with routed_run.site() as site, tempfile.TemporaryDirectory(prefix="persyn-bench-home-") as home:
        owner = _owner(site, home, options.calibration)
        for number in numbers:
            found[number] = _measure(site, home, owner, options, number)
            _show(number, found[number], found[numbers[0]], numbers[0], cores)
    _plan(found, cores)
    print(
        json.dumps(
            {
                "cores": cores,
                "prompts": options.prompts,
                "policy": options.policy,
                "workers": {number: one._asdict() for number, one in found.items()},
            }
        )
    )


def _show(number: int, one: Measured, base: Measured, base_number: int, cores: int) -> None:
    note = f" ({number} processes on {cores} cores: no ratio)" if number > cores else ""
    print(
        f"{number} workers: {one.per_second:,.1f} prompts/s, {one.per_second / base.per_second:.2f} × {base_number};"
        f" memory {one.first_mb:,.0f} MB after the first range, {one.last_mb:,.0f} MB after the last{note}",
        flush=True,
    )
    if one.decision_s is not None:
        print(f"           the decision about the whole set took {one.decision_s:.1f} s", flush=True)


def _plan(found: dict[int, Measured], cores: int) -> None:
    """Hours for a million prompts, as measured; beyond that only arithmetic."""
    print(f"\n{PLAN:,} prompts like these, of one thread each:")
    for number, one in found.items():
        if number <= cores:
            print(f"  {number:>3} workers: {PLAN / one.per_second / 3600:,.1f} h")
    most = max((number for number in found if number <= cores), default=min(found))
    for more in (8, 16):
        rate = found[most].per_second * more / most
        print(f"  {more:>3} workers: {PLAN / rate / 3600:,.1f} h if each gives as much as one of {most} (not measured)")


def _config(name: str, **changes: Any) -> RunConfig:
    teachers = [{"name": f"t{n}", "family": "f", "params_b": n + 1, "model": "m",
                 "endpoint": {"url": "http://127.0.0.1:1/v1"}} for n in range(TEACHERS)]  # fmt: skip
    given = {"name": name, "prompts": name, "student": {"name": "s", "model": "m"}, "teachers": teachers,
             "calibration": {"size": 200}, "reroute": "off"}  # fmt: skip
    return RunConfig.model_validate(given | changes)


def _create(engine: Engine, config: RunConfig, prompts: int, stage: Stage) -> int:
    with engine.begin() as conn:
        set_id = conn.execute(
            text("INSERT INTO prompt_set (name) VALUES (:name) RETURNING id"), {"name": config.name}
        ).scalar_one()
        conn.execute(_PROMPTS, {"set_id": set_id, "name": config.name, "prompts": prompts,
                                "question": routed_run.QUESTION})  # fmt: skip
        run_id = runs.create(conn, config)
        runs.aim(conn, run_id, stage)
    pipeline.advance(engine, run_id)
    return run_id


def _owner(site: routed_run.Site, home: str, calibration: int) -> str:
    """The run whose router the others go by: which teacher is best hangs on the prompt's length."""
    engine = site.engine
    run_id = _create(engine, _config("owner", calibration={"size": calibration}), calibration, Stage.TRAIN)
    for teacher in range(TEACHERS):
        for claims, lease_id in _claims(engine, wake_ups.teacher_queue(f"t{teacher}")):
            with engine.begin() as conn:
                made = [generate.NewGeneration(request, "1", None, "stop", 50, 200, 0.1, None)
                        for request in generate.requests(conn, claims)]  # fmt: skip
                generate.store(conn, lease_id, made)
    pipeline.advance(engine, run_id)
    for kind in ("quality", "learnability"):
        for claims, lease_id in _claims(engine, f"score.{kind}"):
            with engine.begin() as conn:
                items = score.items(conn, claims)
                score.store(conn, lease_id, [score.Scored(item, _value(item), {}) for item in items])
    pipeline.advance(engine, run_id)
    _together(site, home, 1)
    return "owner"


def _claims(engine: Engine, queue: str) -> Any:
    with engine.begin() as conn:
        lease_id = jobs.open_lease(conn, worker="benchmark", host="here", queue=queue)
    while True:
        with engine.begin() as conn:
            claims = jobs.claim(conn, lease_id, queue, 64)
        if not claims:
            return
        yield claims, lease_id


def _value(item: score.Item) -> float:
    return float(hash((item.claim.generation_id, item.claim.scorer_id)) % 100) / 100


def _measure(site: routed_run.Site, home: str, owner: str, options: argparse.Namespace, number: int) -> Measured:
    """Route a set of its own with so many workers."""
    budget = {"policy_options": {"budget": {"t0": {"share": 0.3}}}} if options.policy == "budgeted" else {}
    config = _config(
        f"set-{number}",
        policy=options.policy,
        router={"of": owner},
        calibration={"size": options.calibration},
        **budget,
    )
    run_id = _create(site.engine, config, options.prompts, Stage.ROUTE)
    routed_run.vacuum(site.engine)
    peaks = _together(site, home, number)
    with site.engine.connect() as conn:
        span = conn.execute(_SPAN, {"run_id": run_id}).one()
    decision_s = None
    if pipeline.advance(site.engine, run_id).new_jobs:
        began = time.perf_counter()
        peaks += _together(site, home, 1)
        decision_s = time.perf_counter() - began
        pipeline.advance(site.engine, run_id)
    with site.engine.connect() as conn:
        decided = conn.execute(
            text("SELECT count(*) FROM routing_decision WHERE run_id = :id"), {"id": run_id}
        ).scalar_one()
    assert decided == span.prompts == options.prompts, f"{decided} of {options.prompts} prompts were decided"
    return Measured(
        # Each worker's first batch was computed before the clock ran.
        (span.prompts - number * min(ranges.BATCH, ranges.PROMPTS)) / float(span.seconds),
        max(each[0] for each in peaks if each), max(each[-1] for each in peaks if each), decision_s,
    )  # fmt: skip


def _together(site: routed_run.Site, home: str, number: int) -> list[list[float]]:
    """Let so many worker processes empty the router's queue; the memory of each after each of its jobs."""
    context = multiprocessing.get_context("spawn")
    results: SimpleQueue[list[float]] = context.SimpleQueue()
    barrier = context.Barrier(number)
    workers = [
        context.Process(target=_work, args=(site.endpoints.database_url, home, barrier, results)) for _ in range(number)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            raise SystemExit("a worker process failed; its error is above")
    return [results.get() for _ in workers]


def _work(database_url: str, home: str, barrier: Any, results: "SimpleQueue[list[float]]") -> None:
    import torch

    torch.set_num_threads(1)
    engine = session.connect(database_url)
    worker = _Watched(engine, Path(home))
    barrier.wait()
    drain_router(worker)
    results.put(worker.peaks_mb)
    engine.dispose()


if __name__ == "__main__":
    main()
