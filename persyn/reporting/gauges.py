"""The whole fleet as Prometheus gauges, asked of the database at each scrape.

Each query reads counts, the heads of lanes or the few open leases, so a scrape costs the same on any number of jobs.
Each queue that there is has its series, also where it is 0, so that alerts and scalers need not care for missing ones.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy import Connection, Engine, text

from persyn import counters, jobs, versions
from persyn.jobs import backlog, pauses, wake_ups
from persyn.jobs.workers import Worker, WorkerState, workers

_LEASES = text("""
SELECT queue, count(*) AS leases,
       max(extract(epoch FROM clock_timestamp() - created_at))::float8 AS age,
       max(extract(epoch FROM clock_timestamp() - renewed_at))::float8 AS silence
FROM lease WHERE revoked_at IS NULL GROUP BY queue ORDER BY queue
""")

_RUNS = text("""
SELECT x.run_id, x.run, x.state,
       coalesce(greatest(r.finished_at, r.cancelled_at) > clock_timestamp() - interval '1 day', true) AS is_shown
FROM audit.run_state x JOIN run r ON r.id = x.run_id
ORDER BY x.run_id DESC
""")

STATES = ("waiting", "in progress", "stopped", "finished", "failed", "cancelled")
# A run has series of its own while it is open and for a day after it, the newest runs only: a database may hold
# thousands.
SHOWN_AT_MOST = 50


class _Run(NamedTuple):
    id: int
    name: str
    state: str


class Gauges:
    """A collector for a Prometheus registry."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        with self._engine.connect() as conn:
            counts, known = jobs.counts(conn), workers(conn)
            queues = _queues(conn, counts)
            states, shown = _runs(conn)
            yield from _jobs(counts)
            yield from _backlog(conn, queues)
            yield from _leases(conn, queues)
            yield from _pauses(conn)
            yield from _workers(known, queues)
        yield _by_label("persyn_runs", "Runs by state.", "state", {state: states[state] for state in STATES})
        yield from _each_run(shown, counts)
        yield InfoMetricFamily("persyn_build", "The version of this program.", value=counters.build("api"))


def render(engine: Engine) -> bytes:
    """All gauges in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gauges(engine))
    return generate_latest(registry)


def _by_label(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _queues(conn: Connection, counts: Sequence[jobs.Count]) -> list[str]:
    """All queues that have jobs or could have some."""
    teachers = map(wake_ups.teacher_queue, versions.teacher_names(conn))
    always = (wake_ups.SCORE_QUALITY, wake_ups.SCORE_LEARNABILITY, wake_ups.ROUTER, wake_ups.TRAIN)
    return sorted({*always, *teachers, *(count.queue for count in counts)})


def _jobs(counts: Sequence[jobs.Count]) -> Iterator[Metric]:
    sums = Counter[tuple[str, str]]()
    for count in counts:
        sums[count.queue, str(count.state)] += count.jobs
    family = GaugeMetricFamily("persyn_jobs", "Jobs by queue and state.", labels=["queue", "state"])
    for labels, number in sorted(sums.items()):
        family.add_metric(labels, number)
    yield family


def _backlog(conn: Connection, queues: Sequence[str]) -> Iterator[Metric]:
    due = {item.queue: item for item in backlog.read(conn)}
    jobs_due = {queue: due[queue].jobs if queue in due else 0 for queue in queues}
    oldest_s = {queue: due[queue].oldest_s if queue in due else 0.0 for queue in queues}
    yield _by_label("persyn_jobs_due", "Jobs that could be claimed now.", "queue", jobs_due)
    yield _by_label("persyn_queue_oldest_due_seconds", "For how long the oldest due job has waited.", "queue", oldest_s)


def _leases(conn: Connection, queues: Sequence[str]) -> Iterator[Metric]:
    held = {row.queue: row for row in conn.execute(_LEASES)}
    number = dict.fromkeys(queues, 0) | {queue: row.leases for queue, row in held.items()}
    age = {queue: row.age for queue, row in held.items()}
    silence = {queue: row.silence for queue, row in held.items()}
    yield _by_label("persyn_leases_open", "Leases that are open.", "queue", number)
    yield _by_label("persyn_lease_age_seconds", "Age of the oldest open lease.", "queue", age)
    yield _by_label("persyn_lease_silence_seconds", "Longest time since an open lease was renewed.", "queue", silence)


def _pauses(conn: Connection) -> Iterator[Metric]:
    held = pauses.paused(conn)
    queues = GaugeMetricFamily("persyn_queue_paused", "1 for each queue that is paused.", labels=["queue"])
    for queue in sorted({pause.queue for pause in held if pause.queue is not None}):
        queues.add_metric([queue], 1)
    yield queues
    paused_runs = sum(pause.run_id is not None for pause in held)
    yield GaugeMetricFamily("persyn_runs_paused", "Runs that are paused.", value=paused_runs)


def _runs(conn: Connection) -> tuple[Counter[str], list[_Run]]:
    """The number of runs in each state, and the runs that have series of their own."""
    rows = conn.execute(_RUNS).all()
    states = Counter("stopped" if row.state.startswith("stopped") else row.state for row in rows)
    shown = [_Run(row.run_id, row.run, row.state) for row in rows if row.is_shown]
    return states, shown[:SHOWN_AT_MOST]


def _each_run(shown: Sequence[_Run], counts: Sequence[jobs.Count]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "persyn_run_state", "1 for the state of a run that is open or ended within a day.", labels=["run", "state"]
    )
    for run in shown:
        state.add_metric([run.name, run.state], 1)
    yield state
    names, sums = {run.id: run.name for run in shown}, Counter[tuple[str, str, str]]()
    for count in counts:
        if count.run_id in names:
            sums[names[count.run_id], count.queue, str(count.state)] += count.jobs
    family = GaugeMetricFamily("persyn_run_jobs", "Jobs of those runs.", labels=["run", "queue", "state"])
    for labels, number in sorted(sums.items()):
        family.add_metric(labels, number)
    yield family


def _workers(rows: Sequence[Worker], queues: Sequence[str]) -> Iterator[Metric]:
    states = Counter(worker.state for worker in rows)
    yield _by_label(
        "persyn_workers", "Workers seen within a day, by state.", "state",
        {str(state): states[state] for state in WorkerState},
    )  # fmt: skip
    serving, unfit = Counter(dict.fromkeys(queues, 0)), Counter(dict.fromkeys(queues, 0))
    for worker in rows:
        if worker.is_there:
            lacking = {each["queue"] for each in worker.unfit}
            unfit.update(lacking)
            serving.update({*worker.queues} - lacking)
    there = {queue: serving[queue] for queue in queues}
    yield _by_label("persyn_workers_serving", "Workers that serve a queue.", "queue", there)
    yield _by_label("persyn_workers_unfit", "Workers that cannot serve a queue, or a part of it.", "queue", unfit)
