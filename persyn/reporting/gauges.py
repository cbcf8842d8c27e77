"""The whole fleet as Prometheus gauges, asked of the database at each scrape.

Each query reads counts or the few open leases, so a scrape costs the same on any number of jobs.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.jobs import pauses
from persyn.jobs.workers import WorkerState, workers

_LEASES = text("""
SELECT queue, count(*) AS leases,
       max(extract(epoch FROM clock_timestamp() - created_at))::float8 AS age,
       max(extract(epoch FROM clock_timestamp() - renewed_at))::float8 AS silence
FROM lease WHERE revoked_at IS NULL GROUP BY queue ORDER BY queue
""")

# Each state is there from the beginning, so that an alert need not care whether a series exists.
_RUNS = text("""
SELECT known.state, count(x.run_id) AS runs
FROM (VALUES ('waiting'), ('in progress'), ('stopped'), ('finished'), ('failed'), ('cancelled')) AS known (state)
LEFT JOIN audit.run_state x ON x.state = known.state OR known.state = 'stopped' AND x.state LIKE 'stopped after %'
GROUP BY known.state ORDER BY known.state
""")


class Gauges:
    """A collector for a Prometheus registry."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        with self._engine.connect() as conn:
            yield from _jobs(conn)
            yield from _leases(conn)
            yield from _pauses(conn)
            yield from _workers(conn)
            yield _runs(conn)


def render(engine: Engine) -> bytes:
    """All gauges in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gauges(engine))
    return generate_latest(registry)


def _jobs(conn: Connection) -> Iterator[Metric]:
    sums: dict[tuple[str, str], int] = {}
    for count in jobs.counts(conn):
        key = count.queue, str(count.state)
        sums[key] = sums.get(key, 0) + count.jobs
    family = GaugeMetricFamily("persyn_jobs", "Jobs by queue and state.", labels=["queue", "state"])
    for (queue, state), number in sorted(sums.items()):
        family.add_metric([queue, state], number)
    yield family
    due = GaugeMetricFamily("persyn_jobs_due", "Jobs that could be claimed now.", labels=["queue"])
    for queue, number in jobs.waiting(conn).items():
        due.add_metric([queue], number)
    yield due


def _leases(conn: Connection) -> Iterator[Metric]:
    families = [
        GaugeMetricFamily("persyn_leases_open", "Leases that are open.", labels=["queue"]),
        GaugeMetricFamily("persyn_lease_age_seconds", "Age of the oldest open lease.", labels=["queue"]),
        GaugeMetricFamily(
            "persyn_lease_silence_seconds", "Longest time since an open lease was renewed.", labels=["queue"]
        ),
    ]
    for row in conn.execute(_LEASES):
        for family, value in zip(families, (row.leases, row.age, row.silence), strict=True):
            family.add_metric([row.queue], value)
    yield from families


def _pauses(conn: Connection) -> Iterator[Metric]:
    held = pauses.paused(conn)
    queues = GaugeMetricFamily("persyn_queue_paused", "1 for each queue that is paused.", labels=["queue"])
    for queue in sorted({pause.queue for pause in held if pause.queue is not None}):
        queues.add_metric([queue], 1)
    yield queues
    paused_runs = sum(pause.run_id is not None for pause in held)
    yield GaugeMetricFamily("persyn_runs_paused", "Runs that are paused.", value=paused_runs)


def _runs(conn: Connection) -> Metric:
    family = GaugeMetricFamily("persyn_runs", "Runs by state.", labels=["state"])
    for row in conn.execute(_RUNS):
        family.add_metric([row.state], row.runs)
    return family


def _workers(conn: Connection) -> Iterator[Metric]:
    rows = workers(conn)
    states = [worker.state for worker in rows]
    family = GaugeMetricFamily("persyn_workers", "Workers seen within a day, by state.", labels=["state"])
    for state in WorkerState:
        family.add_metric([str(state)], states.count(state))
    yield family
    unfit = GaugeMetricFamily("persyn_workers_unfit", "Workers that cannot serve a queue.", labels=["queue"])
    lacking = Counter(queue for worker in rows if worker.is_there for queue in {each["queue"] for each in worker.unfit})
    for queue, number in sorted(lacking.items()):
        unfit.add_metric([queue], number)
    yield unfit
