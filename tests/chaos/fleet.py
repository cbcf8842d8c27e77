"""A fleet to break: one run in a database of its own, real workers behind proxies, and what must hold at the end.

The run's prompts are decided beforehand, so that the work is what workers of teachers do: claim, ask, store. Everything
goes through the shipped code: the queue in Postgres, wake-ups over Celery, the client, the stub server.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

import httpx
import redis
from proxy import Proxy
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from start import HEARTBEAT_S, IN_FLIGHT, LEASE_TTL_S, RECONCILE_S, STORE_AFTER_S
from verdict import FOLLOWED, Fault, Verdict, record

from persyn import jobs, runs
from persyn.config import Export, Flaw, RunConfig
from persyn.db import session
from persyn.exports.write import export_run
from persyn.imports.prompts import import_prompts
from persyn.jobs import wake_ups
from persyn.services import postgres, valkey
from persyn.services.embedded import locked, wait_until
from persyn.stages import generate, pipeline, route
from persyn.states import Stage
from persyn.workers.generate import AHEAD, STORE_AFTER_ROWS

START = Path(__file__).with_name("start.py")
TEACHERS = 2
TIMES = int(os.environ.get("PERSYN_CHAOS_TIMES", "20"))  # of each fault that a cell draws out
CONDITIONS = {
    "lease TTL": LEASE_TTL_S, "heartbeat": HEARTBEAT_S, "reap and reconcile": RECONCILE_S, "store": STORE_AFTER_S,
    "requests in flight": IN_FLIGHT,
}  # fmt: skip

_AGAIN_ALLOWED = "SELECT count(*) FROM job_event WHERE event IN ('lost', 'released', 'retried')"
OPEN_JOBS = "SELECT count(*) FROM job WHERE state IN ('ready', 'leased')"
LEASED = "SELECT count(*) FROM job WHERE state = 'leased'"
HELD_BY = """
SELECT count(*) FROM job JOIN lease ON lease.id = job.lease_id
WHERE state = 'leased' AND worker LIKE '%:' || CAST(:pid AS text)
"""
# A lease under which answers were stored and are asked for: just after its first claim a worker has sent nothing yet.
_MID_GENERATION = """
SELECT count(*) FROM job JOIN lease ON lease.id = job.lease_id
WHERE state = 'leased' AND worker LIKE '%:' || CAST(:pid AS text)
  AND EXISTS (SELECT FROM generation WHERE generation.lease_id = lease.id)
"""
DONE = "SELECT count(*) FROM job WHERE state = 'done'"
SPENT = "SELECT count(*) FROM job_event WHERE event IN ('retried', 'died')"
_UNFIT = "SELECT count(*) FROM worker WHERE pid = :pid AND position(:why in unfit::text) > 0"
_PRESENT = "SELECT count(*) FROM worker WHERE pid = ANY(:pids)"


class Ground(NamedTuple):
    """What a module's cells share: the servers' home, a migrated database to copy, and the teachers' endpoint."""

    home: Path
    admin_url: str
    template: str
    broker_url: str
    stub_url: str


class Fleet:
    """`load` makes the work, `start` a worker; each fault is announced with `fault`; `verdict` closes the cell."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground, self.folder, self.tag = ground, folder, uuid.uuid4().hex[:10]
        self.database = f"chaos_{self.tag}"
        execute(ground.admin_url, f"CREATE DATABASE {self.database} TEMPLATE {ground.template}")
        self.database_url = make_url(ground.admin_url).set(database=self.database).render_as_string(False)
        self.engine = session.connect(self.database_url)
        self.postgres = Proxy(str(postgres.socket_path(ground.home)), postgres=True)
        self.broker = Proxy(str(valkey.socket_path(ground.home)))
        self.environment = os.environ | {
            "PERSYN_DATABASE_URL": f"postgresql://persyn@127.0.0.1:{self.postgres.port}/{self.database}"
            "?sslmode=disable&gssencmode=disable",
            "PERSYN_BROKER_URL": f"redis://127.0.0.1:{self.broker.port}/0",
            "PERSYN_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.prefix: list[str] = []  # what a worker's command stands behind
        self.log = folder / "workers.log"
        self.log.touch()
        self.faults: list[Fault] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._started: dict[int, datetime] = {}  # process id → when it was started
        self.run_id = self.died = 0
        self.supervised = False
        self._target = Stage.CALIBRATE
        self._seen_before = self._seen()
        self.redis().flushall()
        # A spread, or all that a worker asked at once would come in at once, and each fault meet it at the same moment.
        self.configure_stub(latency_s=0.3, latency_sigma=0.5, failures={})

    # The work

    def load(
        self, prompts: int = 120, *, calibration: int = 2, in_flight: int = IN_FLIGHT, enqueue: bool = True,
        server_args: tuple[str, ...] | None = None, key: str | None = None, scorers: dict[str, Any] | None = None,
        reroute: bool = False,
    ) -> int:  # fmt: skip
        """A run whose prompts are decided and, with `enqueue`, whose jobs are ready; returns how many jobs there are.

        `server_args`: the worker serves the teachers itself, with the stub under its supervisor and these arguments.
        `key`: the variable that a worker needs to ask them. `scorers`: the calibration answers are scored, too.
        `reroute`: all answers are scored, and a prompt whose answer is wrong goes to the other teacher.
        """
        self.supervised, self._target = server_args is not None, Stage.SCORE if scorers else Stage.CALIBRATE
        if reroute:
            self._target = Stage.GENERATE
        endpoint = {"url": self.ground.stub_url, "concurrency": in_flight, "api_key_env": key}
        own = {"kind": "stub", "args": list(server_args or ())}
        served = {"server": own} if self.supervised else {"endpoint": endpoint}
        more = {"scorers": scorers, "alpha": 0.0} if scorers else {}
        self.run_id = self._create(prompts, calibration, served, more | {"reroute": {} if reroute else "off"})
        with self.engine.begin() as conn:
            self._decide(conn)
        if enqueue:
            self.add_work()
        return int(self.scalar("SELECT count(*) FROM job"))

    def load_untrained(self, prompts: int, calibration: int, model: str) -> None:
        """A run that learns its router itself, from what this model as its student finds learnable."""
        served = {"endpoint": {"url": self.ground.stub_url, "concurrency": IN_FLIGHT}}
        own = {"policy": "persyn", "student": {"name": "pupil", "model": model, "max_length": 400},
               "router": {"backbone": model, "epochs": 1, "max_length": 64}}  # fmt: skip
        self.run_id = self._create(prompts, calibration, served, own)
        self.aim(Stage.TRAIN)

    def aim(self, stage: Stage) -> None:
        with self.engine.begin() as conn:
            runs.aim(conn, self.run_id, stage)
        pipeline.advance(self.engine, self.run_id)

    def add_work(self, *, wake: bool = True) -> None:
        """Enqueue what is decided, as `pipeline.advance` does at its stage, and wake the workers."""
        with self.engine.begin() as conn:
            generate.enqueue(conn, self.run_id)
        self.aim(self._target)
        if wake:
            with suppress(redis.RedisError, OSError):
                self.wake()

    def _create(self, prompts: int, calibration: int, served: dict[str, Any], more: dict[str, Any]) -> int:
        source = self.folder / "prompts.jsonl"
        words = [(n, f"{self.tag}: {n} + 1?", str(n + 1)) for n in range(prompts)]
        lines = [{"id": f"p{n}", "prompt": prompt, "reference_answer": answer} for n, prompt, answer in words]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        import_prompts(self.engine, "set", [str(source)])
        teachers = [
            {"name": name, "family": "stub", "params_b": 1, "model": "stub-model", "system_prompt": name, **served}
            for name in self.teacher_names
        ]
        config = {
            "name": "run", "prompts": "set", "student": {"name": "pupil", "model": "m"}, "teachers": teachers,
            "calibration": {"size": calibration, "validation": 0.5}, "policy": "random", **more,
        }  # fmt: skip
        with self.engine.begin() as conn:
            return runs.create(conn, RunConfig.model_validate(config))

    def _decide(self, conn: Any) -> None:
        """What a worker of the router queue does, under a lease as there."""
        run = runs.load(conn, self.run_id)
        jobs.enqueue_stage(conn, self.run_id, "route", wake_ups.ROUTER, Stage.ROUTE)
        lease = jobs.open_lease(conn, worker="harness", host="harness", queue=wake_ups.ROUTER, ttl_s=3600)
        (claim,) = jobs.claim(conn, lease, wake_ups.ROUTER, 1)
        ids = conn.execute(text("SELECT id FROM prompt ORDER BY id")).scalars().all()
        chosen = [route.Decision(id, run.teacher_ids[id % TEACHERS], "random") for id in ids]
        route.write(conn, lease, self.run_id, run.config.policy, chosen)
        jobs.complete(conn, lease, [claim.id])
        jobs.close(conn, lease, "decided")

    @property
    def teacher_names(self) -> list[str]:
        return [f"t{number}-{self.tag}" for number in range(TEACHERS)]

    def wake(self, times: int = 1) -> None:
        with self.engine.connect() as conn:
            app = wake_ups.application(self.ground.broker_url, wake_ups.deployment(conn))
        with app, app.connection_for_write() as connection:
            for name in self.teacher_names * times:
                queue_name = wake_ups.teacher_queue(name)
                app.send_task(wake_ups.DRAIN, args=[queue_name], queue=queue_name, connection=connection)

    # The workers

    def start(self, *flags: str, healthy: bool = False, **environment: str) -> "subprocess.Popen[bytes]":
        """A worker behind the proxies; one that is to stay `healthy` has its own way to Postgres."""
        changes = environment | ({"PERSYN_DATABASE_URL": self.database_url} if healthy else {})
        command = [*self.prefix, sys.executable, str(START), "--teachers", ",".join(self.teacher_names), *flags]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment | changes, start_new_session=True
            )
        self.processes.append(process)
        self._started[process.pid] = datetime.now(UTC)
        return process

    def lacking(self, package: str) -> dict[str, str]:
        """The environment of a host on which this package is missing."""
        folder = self.folder / "lacking"
        folder.mkdir(exist_ok=True)
        said = f"No module named {package!r}"
        (folder / f"{package}.py").write_text(f"raise ModuleNotFoundError({said!r}, name={package!r})\n")
        return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}

    def ready(self, *workers: "subprocess.Popen[bytes]") -> None:
        """Wait until these workers listen for wake-ups."""
        pids = [worker.pid for worker in workers]
        self.eventually(lambda: self.scalar(_PRESENT, pids=pids) == len(pids))

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()

    def fault(self) -> None:
        """Note the moment. Postgres runs on this machine, so its clock is ours."""
        now = datetime.now(UTC)
        self.faults.append(Fault(now, now))

    def mended(self) -> None:
        """The last fault is over, where it is not over as soon as it came: what comes later is recovery."""
        self.faults[-1] = self.faults[-1]._replace(mended=datetime.now(UTC))

    def configure_stub(self, **changes: Any) -> None:
        httpx.post(self._stub_url("config"), json=changes).raise_for_status()

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.ground.broker_url.replace("redis+socket://", "unix://"))

    # What there is to see

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Asked again while Postgres is away, as it is after some of the faults."""
        deadline = time.monotonic() + 120.0
        while True:
            try:
                with self.engine.connect() as conn:
                    return list(conn.execute(text(statement), values))
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def scalar(self, statement: str, **values: Any) -> Any:
        (row,) = self.rows(statement, **values)
        return row[0]

    def eventually(self, condition: Callable[[], bool], deadline_s: float = 120.0) -> None:
        """Poll until it holds. A deadline far beyond any healthy time ends a test that is lost; none asserts on it."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                states = self.rows("SELECT queue, state, lost_count, error_code, count(*) FROM job GROUP BY 1, 2, 3, 4")
                raise AssertionError(f"it never came true: {states}\n{self.log.read_text()[-6000:]}")
            time.sleep(0.03)

    def working(self) -> None:
        """Wait until a worker is in the midst of it: some of what is held was not there before."""
        done = self.scalar(DONE)
        self.eventually(lambda: self.scalar(LEASED) > 0 and self.scalar(DONE) > done)

    def holding(self, worker: "subprocess.Popen[bytes]") -> None:
        """Wait until this worker holds jobs."""
        self.eventually(lambda: self.scalar(HELD_BY, pid=worker.pid) > 0)

    def unfit(self, worker: "subprocess.Popen[bytes]", why: str) -> None:
        """Wait until this worker says in its row what its host cannot do, and holds nothing."""
        self.eventually(lambda: self.scalar(_UNFIT, pid=worker.pid, why=why) > 0)
        self.eventually(lambda: self.scalar(HELD_BY, pid=worker.pid) == 0)

    def in_mid_generation(self, worker: "subprocess.Popen[bytes]") -> None:
        """Wait until this worker holds jobs under a lease that has given answers: some are with the teacher now."""
        self.eventually(lambda: self.scalar(_MID_GENERATION, pid=worker.pid) > 0)

    def revive_dead(self) -> None:
        """What an operator does with `persyn jobs retry`, for those that a storm of faults took for poison."""
        with self.engine.begin() as conn:
            dead = list(conn.execute(text("SELECT id FROM job WHERE state = 'dead'")).scalars())
            self.died += len(dead)
            jobs.revive(conn, dead)

    def finish(self, deadline_s: float = 240.0) -> None:
        """Wait until every job has ended, and for the pipeline to say so."""
        finished = "SELECT count(*) FROM run WHERE finished_at IS NOT NULL"
        self.eventually(lambda: self.scalar(OPEN_JOBS) == 0 and self.scalar(finished) == 1, deadline_s)

    def times_asked(self) -> Counter[str]:
        return self._seen() - self._seen_before

    def _seen(self) -> Counter[str]:
        return Counter(httpx.get(self._stub_url("seen")).json()["times_by_sha256"])

    def _stub_url(self, name: str) -> str:
        return f"{self.ground.stub_url.removesuffix('/v1')}/stub/{name}"

    # The end

    def verdict(
        self, fault: str, *, times: int | None = None, workers: int = 1, explained: bool = True, note: str = ""
    ) -> Verdict:
        """Hold the invariants, write the cell's row, return it.

        `workers`: how many one fault may have hit. `explained`: whether each answer made again has an event that says
        why. A crash of Postgres may take back claims that were committed a moment before, and the events with them.
        """
        times = len(self.faults) if times is None else times
        unfinished = self.scalar(OPEN_JOBS)
        broken = self.rows("SELECT invariant, violations FROM audit.integrity WHERE violations > 0")
        allowed = self.scalar(_AGAIN_ALLOWED)
        again = allowed if self.supervised else sum(asked - 1 for asked in self.times_asked().values())
        found = Verdict(
            fault, times, self.scalar("SELECT count(*) FROM job WHERE kind = 'generate'"), *self._dataset(),
            self.died + self.scalar("SELECT count(*) FROM job WHERE state = 'dead'"), again, allowed,
            [round((fault.mended - fault.at).total_seconds(), 2) for fault in self.faults],
            *self._followed(), self._starts(), note,
        )  # fmt: skip
        record(found._asdict())
        assert unfinished == 0  # L
        assert (found.lost, found.doubled) == (0, 0)  # U
        assert broken == []  # F, A
        # W: each answer made again is explained by an event, and a fault takes no more than a worker holds
        assert again <= allowed or not explained
        assert again <= times * workers * (IN_FLIGHT + AHEAD + STORE_AFTER_ROWS)
        return found

    def _followed(self) -> list[list[float]]:
        """What each fault led to (FOLLOWED), column by column."""
        rows = [self.rows(FOLLOWED, fault=fault.at, mended=fault.mended)[0] for fault in self.faults]
        return [[round(row[n], 2) for row in rows if row[n] is not None] for n in range(4)]

    def _starts(self) -> list[float]:
        """From a worker's start until it listens, in seconds; of those that were not killed before."""
        rows = self.rows("SELECT pid, started_at FROM worker")
        return [
            round((row.started_at - self._started[row.pid]).total_seconds(), 2)
            for row in rows if row.pid in self._started
        ]  # fmt: skip

    def _dataset(self) -> tuple[int, int]:
        """Prompts that the exported dataset lacks, and those that it holds more than once."""
        export_run(self.engine, self.run_id, self.folder / "dataset", Export(keep=list(get_args(Flaw))))
        lines = (self.folder / "dataset" / "train.jsonl").read_text().splitlines()
        rows = Counter(json.loads(line)["prompt_id"] for line in lines)
        return self.scalar("SELECT count(*) FROM prompt") - len(rows), sum(count > 1 for count in rows.values())

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.postgres.close()
        self.broker.close()
        self.engine.dispose()
        execute(self.ground.admin_url, f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")


def execute(url: str, statement: str) -> None:
    admin = session.connect(url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    admin.dispose()


@contextmanager
def stopped_postgres(ground: Ground) -> Iterator[None]:
    """Postgres is down at once, as after `pg_ctl stop -m immediate`, and recovers from its log at the end."""
    with locked(ground.home):
        pid = postgres.pid(ground.home)
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)  # immediate: no checkpoint, no goodbye
        wait_until(lambda: postgres.pid(ground.home) is None, 30)
        yield
        postgres.start(ground.home)
