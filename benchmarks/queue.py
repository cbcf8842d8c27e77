"""What the job table costs against Celery with one message per prompt, side by side in one run.

Enqueue: jobs with their events, against one `send_task` per prompt. Process: claim 64, complete 64 with an
event each, against a broker round trip per message. No model works: this is the queue alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery
from sqlalchemy import Engine, text

from persyn import jobs, queue
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.local import services

_SOURCE = """
SELECT r.id AS run_id, 'generate' AS kind, CAST(:queue AS text) AS queue, 50 AS priority, p.id AS prompt_id,
       t.id AS teacher_id, NULL::bigint AS generation_id, NULL::bigint AS scorer_id
FROM run r, teacher t, prompt p WHERE p.position < :count
"""
_SET_UP = """
INSERT INTO prompt_set (name) VALUES ('bench');
INSERT INTO student (name, config_sha256, model, config) VALUES ('s', '', '', '{}');
INSERT INTO teacher (name, config_sha256, family, params_b, model, config) VALUES ('t', '', 'f', 1, '', '{}');
INSERT INTO scorer (kind, method, config_sha256, config) VALUES ('quality', 'math_verify', '', '{}');
INSERT INTO run (name, prompt_set_id, student_id, quality_scorer_id, learnability_scorer_id, policy, alpha, config,
                 config_sha256, code_version, library_versions, target_stage)
SELECT 'bench', p.id, s.id, q.id, q.id, 'persyn', 0.4, '{}', '', '', '{}', 0 FROM prompt_set p, student s, scorer q;
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_work")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="persyn-bench-") as home:
        settings = Settings(Path(home), None, None)
        endpoints = services.connect(settings)
        try:
            engine = session.connect(endpoints.database_url)
            migrate.upgrade(engine)
            _report(engine, endpoints.broker_url, options.jobs, options.repeat)
            engine.dispose()
        finally:
            services.stop(settings)


def _report(engine: Engine, broker_url: str, count: int, repeat: int) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql(_SET_UP)
        conn.execute(
            text("""
            INSERT INTO prompt (prompt_set_id, position, sha256, messages)
            SELECT s.id, n - 1, md5(n::text), '[]' FROM prompt_set s, generate_series(1, :count) n
            """),
            {"count": count},
        )
    app = queue.application(broker_url)
    measured: dict[str, list[float]] = {"enqueue": [], "process": [], "celery enqueue": [], "celery process": []}
    for _ in range(repeat):
        _clear(engine)
        measured["enqueue"].append(_rate(count, lambda: _enqueue(engine, count)))
        measured["process"].append(_rate(count, lambda: _process(engine)))
        measured["celery enqueue"].append(_rate(count, lambda: _send(app, count)))
        measured["celery process"].append(_rate(count, lambda: _receive(app, count)))
    medians = {name: statistics.median(rates) for name, rates in measured.items()}
    for name, rate in medians.items():
        print(f"{name:<16} {rate:>10,.0f} jobs/s (median of {repeat}, {count} jobs)")
    for name in ("enqueue", "process"):
        print(f"{name:<16} {medians[name] / medians['celery ' + name]:>10.1f} × Celery with one message per prompt")


def _rate(count: int, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _clear(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql("TRUNCATE job, job_event CASCADE")


def _enqueue(engine: Engine, count: int) -> None:
    with engine.begin() as conn:
        jobs.enqueue(conn, _SOURCE, {"queue": "teacher.t", "count": count})


def _process(engine: Engine) -> None:
    with engine.begin() as conn:
        lease = jobs.open_lease(conn, worker="bench", host="bench", queue="teacher.t")
    while True:
        with engine.begin() as conn:
            claims = jobs.claim(conn, lease, "teacher.t", 64)
        if not claims:
            return
        with engine.begin() as conn:
            jobs.complete(conn, lease, [claim.id for claim in claims])


def _send(app: Celery, count: int) -> None:
    for number in range(count):
        app.send_task("bench", args=[number], queue="bench", ignore_result=True)


def _receive(app: Celery, count: int) -> None:
    """The broker's side of consuming alone, without a worker around it: Celery's best case."""
    with app.connection_for_read() as connection:
        incoming = connection.SimpleQueue("bench")
        for _ in range(count):
            incoming.get(timeout=10).ack()
        incoming.close()


if __name__ == "__main__":
    main()
