"""A small run in a real database with the moves that tests of the protocol make on it, and a site of real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from typer.testing import CliRunner, Result

from persyn import jobs, runs
from persyn.cli import context, main
from persyn.config import load_run
from persyn.imports.prompts import import_prompts
from persyn.inference.servers.server import Server
from persyn.inference.servers.spec import ServerSpec
from persyn.jobs import wake_ups
from persyn.services import Endpoints
from persyn.stages import pipeline
from persyn.states import JobEvent
from tests.integration.small_run import SmallRun, violations

QUEUE = "teacher.small"
SHA = "0" * 64


class JobRow(NamedTuple):
    state: str
    attempt: int
    lost_count: int
    lease_id: int | None
    error_code: str | None


class World:
    """One run of two teachers over six prompts. A move that takes no connection commits."""

    queue = QUEUE

    def __init__(self, engine: Engine, conn: Connection) -> None:
        self.engine = engine
        self.prompt_set_id = _insert(conn, "prompt_set", name="set")
        self.student_id = _insert(conn, "student", name="pupil", config_sha256=SHA, model="m", config="{}")
        scorer = {"method": "m", "config_sha256": SHA, "config": "{}"}
        self.quality_id = _insert(conn, "scorer", kind="quality", **scorer)
        self.learnability_id = _insert(conn, "scorer", kind="learnability", student_id=self.student_id, **scorer)
        self.prompts = [self._prompt(conn, position) for position in range(6)]
        self.teachers = [self._teacher(conn, name) for name in ("small", "large")]
        self.run_id = self.add_run(conn, "run")

    def _prompt(self, conn: Connection, position: int) -> int:
        return _insert(
            conn,
            "prompt",
            prompt_set_id=self.prompt_set_id,
            position=position,
            sha256=f"{position:064d}",
            messages="[]",
        )

    def _teacher(self, conn: Connection, name: str) -> int:
        return _insert(conn, "teacher", name=name, config_sha256=SHA, family="f", params_b=1.0, model="m", config="{}")

    def add_run(self, conn: Connection, name: str) -> int:
        run_id = _insert(
            conn, "run", name=name, prompt_set_id=self.prompt_set_id, student_id=self.student_id,
            policy="persyn", alpha=0.4, config="{}", config_sha256=SHA, code_version="0",
            library_versions="{}", target_stage=50,
        )  # fmt: skip
        for position, teacher_id in enumerate(self.teachers):
            conn.execute(
                text("INSERT INTO run_teacher (run_id, teacher_id, position) VALUES (:r, :t, :p)"),
                {"r": run_id, "t": teacher_id, "p": position},
            )
        for scorer_id in (self.quality_id, self.learnability_id):
            conn.execute(
                text("INSERT INTO run_scorer (run_id, scorer_id, weight) VALUES (:r, :s, 1)"),
                {"r": run_id, "s": scorer_id},
            )
        return run_id

    def enqueue(
        self, conn: Connection, prompts: Sequence[int], *, queue: str = QUEUE, stage: int = 50, all_new: bool = False
    ) -> int:
        """Ask the first teacher for answers to these prompts."""
        source = """
            SELECT CAST(:run AS bigint) AS run_id, 'generate' AS kind, CAST(:queue AS text) AS queue,
                   CAST(:stage AS integer) AS stage, prompt_id, CAST(:teacher AS bigint) AS teacher_id,
                   0 AS sample_index, NULL::bigint AS generation_id, NULL::bigint AS scorer_id
            FROM unnest(CAST(:prompts AS bigint[])) AS p (prompt_id)
        """
        values = {
            "run": self.run_id, "queue": queue, "stage": stage, "teacher": self.teachers[0],
            "prompts": list(prompts),
        }  # fmt: skip
        return jobs.enqueue(conn, source, values, all_new=all_new)

    def fill(self, count: int) -> list[int]:
        """`count` ready jobs, in the order of their ids."""
        with self.engine.begin() as conn:
            self.enqueue(conn, self.prompts[:count])
            return list(conn.execute(text("SELECT id FROM job ORDER BY id")).scalars())

    def lease(self, conn: Connection) -> int:
        return jobs.open_lease(conn, worker="w", host="h", queue=QUEUE, ttl_s=3600)

    def leased(self, count: int) -> tuple[int, list[int]]:
        """A lease that holds `count` jobs."""
        ids = self.fill(count)
        with self.engine.begin() as conn:
            lease_id = self.lease(conn)
            assert [claim.id for claim in jobs.claim(conn, lease_id, QUEUE, count)] == ids
        return lease_id, ids

    def expire(self, lease_id: int, column: str = "expires_at") -> None:
        """Let the lease run out now, so that no test has to wait for it."""
        with self.engine.begin() as conn:
            conn.execute(text(f"UPDATE lease SET {column} = '2000-01-01' WHERE id = :id"), {"id": lease_id})

    def reap(self) -> int:
        with self.engine.begin() as conn:
            return jobs.reap(conn)

    def revoke(self, lease_id: int) -> None:
        self.expire(lease_id)
        self.reap()

    def answer(self, conn: Connection, lease_id: int, job_ids: Sequence[int]) -> frozenset[int]:
        """Complete as a worker does: the answers of accepted jobs only, in the same transaction."""
        accepted = jobs.complete(conn, lease_id, job_ids)
        conn.execute(
            text("""
            INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed,
                                    latency_s, job_id, lease_id)
            SELECT prompt_id, teacher_id, 'answer', 'stop', 1, 1, 0, 0.1, id, :lease FROM job WHERE id = ANY(:ids)
            ON CONFLICT DO NOTHING
            """),
            {"lease": lease_id, "ids": list(accepted)},
        )
        return accepted

    def job(self, job_id: int) -> JobRow:
        with self.engine.connect() as conn:
            row = conn.execute(
                text("SELECT state, attempt, lost_count, lease_id, error_code FROM job WHERE id = :id"), {"id": job_id}
            ).one()
        return JobRow(*row)

    def history(self, job_id: int) -> list[JobEvent]:
        with self.engine.connect() as conn:
            rows = conn.execute(
                text("SELECT event FROM audit.job_history WHERE job_id = :id ORDER BY id"), {"id": job_id}
            )
            return [JobEvent(row.event) for row in rows]

    def scalar(self, statement: str, **values: Any) -> Any:
        with self.engine.connect() as conn:
            return conn.execute(text(statement), values).scalar_one()

    def violations(self) -> dict[str, int]:
        """The broken invariants of `audit.integrity`; empty when all hold."""
        with self.engine.connect() as conn:
            return violations(conn)


def _insert(conn: Connection, table: str, **values: Any) -> int:
    columns = ", ".join(values)
    places = ", ".join(f":{column}" for column in values)
    return int(
        conn.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING id"), values).scalar_one()
    )


@pytest.fixture(scope="session")
def build() -> Callable[[Engine, Connection], World]:
    """`build(engine, conn)` makes the world in the connection's transaction."""
    return World


@pytest.fixture
def world(engine: Engine) -> World:
    with engine.begin() as conn:
        return World(engine, conn)


@pytest.fixture
def small_run(engine: Engine) -> SmallRun:
    return SmallRun(engine)


@pytest.fixture
def build_run(engine: Engine) -> Callable[..., SmallRun]:
    """`build_run(prompts=8, policy="random", …)` makes one of another configuration."""
    return lambda **changes: SmallRun(engine, **changes)


def random_model(folder: Path, **options: Any) -> str:
    from persyn.inference.random_model import build  # it loads torch, which few tests need

    return build(folder, **options)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama with one token a byte: student and router backbone where only the plumbing matters."""
    return random_model(tmp_path_factory.mktemp("tiny-model"), hidden_size=32)


@pytest.fixture(scope="session")
def servable_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with heads of 32 numbers, which vLLM wants at least."""
    return random_model(tmp_path_factory.mktemp("servable-model"))


@pytest.fixture(scope="session")
def tiny_reward_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reward model that is as random, and that vLLM serves too."""
    return random_model(tmp_path_factory.mktemp("tiny-reward-model"), kind="LlamaForSequenceClassification")


class Site:
    """One run's world of real processes: workers and commands on a database and a broker, teachers behind a stub.

    The names of its teachers, and with them of their queues, are its own; so is the text of its prompts.
    """

    TEACHERS = 3

    def __init__(self, engine: Engine, environment: dict[str, str], home: Path, model: str, stub: Server) -> None:
        self.engine, self.environment, self.home, self.stub, self._model = engine, environment, home, stub, model
        self.tag = uuid.uuid4().hex[:8]
        self.config_file = home / "run.yaml"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._seen_before = self._seen()
        self.changes: dict[int, dict[str, Any]] = {}  # to single teachers, before `prepare`
        self.configure_stub(latency_s=0.0)
        home.mkdir()
        (home / "worker.log").touch()

    def prepare(self, prompts: int = 24, calibration: int = 8, marked: Mapping[int, str] = MappingProxyType({})) -> int:
        """Import prompts and create the run; returns its id. `marked` adds a text to the prompts at some positions."""
        texts = [f"{self.tag}: what is {n} + 1? {marked.get(n, '')}" for n in range(prompts)]
        lines = [{"id": f"p{n}", "prompt": words, "reference_answer": str(n + 1)} for n, words in enumerate(texts)]
        source = self.home / "prompts.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        report = import_prompts(self.engine, f"set-{self.tag}", [str(source)])
        assert report.imported == prompts
        config = self._config(calibration)
        self.config_file.write_text(json.dumps(config))  # JSON is YAML
        with self.engine.begin() as conn:
            return runs.create(conn, load_run(self.config_file))

    def _config(self, calibration: int) -> dict[str, Any]:
        return {
            "name": f"run-{self.tag}",
            "prompts": f"set-{self.tag}",
            "student": {"name": "pupil", "model": self._model, "max_length": 400},
            "teachers": [
                {
                    "name": f"t{number}-{self.tag}", "family": "stub", "params_b": number + 1, "model": "stub-model",
                    "system_prompt": f"You are teacher {number}.", "endpoint": {"url": self.stub.base_url},
                } | self.changes.get(number, {})
                for number in range(self.TEACHERS)
            ],
            "calibration": {"size": calibration, "validation": 0.25},
            "router": {"backbone": self._model, "epochs": 2, "max_length": 64},
            "export": {"keep": "all"},  # the stub's answers are wrong
        }  # fmt: skip

    def start_worker(self, *flags: str) -> "subprocess.Popen[bytes]":
        with (self.home / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "persyn", "worker", *(flags or ("--all",))],
                stdout=log, stderr=log, env=self.environment, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def persyn(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "persyn", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=300)

    def ask(self, *arguments: str) -> Result:
        """A command that only looks, called in this process, which has loaded what a new one loads for seconds."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERSYN_HOME", self.environment["PERSYN_HOME"])
            patch.setattr(context, "engine", lambda **_: self.engine)
            return CliRunner().invoke(main.app, arguments)

    def configure_stub(self, **changes: Any) -> None:
        httpx.post(self._stub_url("config"), json=changes).raise_for_status()

    def times_asked(self) -> Counter[str]:
        """How often each conversation, which names its teacher, was sent since this site exists."""
        return self._seen() - self._seen_before

    def _seen(self) -> Counter[str]:
        return Counter(httpx.get(self._stub_url("seen")).json()["times_by_sha256"])

    def _stub_url(self, name: str) -> str:
        return f"{self.stub.base_url.removesuffix('/v1')}/stub/{name}"

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.connect() as conn:
            return list(conn.execute(text(statement), values))

    def scalar(self, statement: str, **values: Any) -> Any:
        (row,) = self.rows(statement, **values)
        return row[0]

    def violations(self) -> dict[str, int]:
        with self.engine.connect() as conn:
            return violations(conn)

    def finished(self) -> bool:
        return bool(self.scalar("SELECT count(finished_at) = 1 FROM run WHERE name = :n", n=f"run-{self.tag}"))

    def eventually(self, condition: Callable[[], bool], deadline_s: float = 90.0) -> None:
        """Poll until it holds; at the deadline fail with the jobs' errors and the end of the workers' log."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                log = self.home / "worker.log"
                errors = self.rows("SELECT DISTINCT error_code, detail FROM job_event WHERE error_code IS NOT NULL")
                pytest.fail(f"it never came true: {errors}, stub alive: {self.stub.alive()}\n{log.read_text()[-4000:]}")
            time.sleep(0.05)

    def follow(self, run_id: int) -> None:
        """Take the run to its end as `persyn run` does: a retry need not wait for a worker's next round."""

        def finished() -> bool:
            progress = pipeline.advance(self.engine, run_id)
            with self.engine.connect() as conn:
                due = jobs.waiting(conn)
            for name, count in due.items():
                wake_ups.wake(app, name, count)
            return progress.finished

        with self.engine.connect() as conn:
            deployment = wake_ups.deployment(conn)
        with wake_ups.application(self.environment["PERSYN_BROKER_URL"], deployment) as app:
            self.eventually(finished)

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def teacher_stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that answers for every teacher of every site; their system prompts tell them apart."""
    server = Server.start(ServerSpec("stub-model", kind="stub"), tmp_path_factory.mktemp("stub-home"))
    yield server
    server.stop()


@pytest.fixture
def site(
    engine: Engine,
    database_url: str,
    endpoints: Endpoints,
    tmp_path: Path,
    tiny_model: str,
    teacher_stub: Server,
) -> Iterator[Site]:
    environment = os.environ | {
        "PERSYN_DATABASE_URL": database_url,
        "PERSYN_BROKER_URL": endpoints.broker_url,
        "PERSYN_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    site = Site(engine, environment, tmp_path / "home", tiny_model, teacher_stub)
    yield site
    site.close()
    site.configure_stub(latency_s=0.0)  # others ask the same stub


@pytest.fixture
def longest_list(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the lists that statements were given since it was cleared."""
    lengths: list[int] = []
    execute = psycopg.Cursor.execute

    def spy(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        values = params.values() if isinstance(params, Mapping) else params or ()
        lengths.extend(len(value) for value in values if isinstance(value, list))
        return execute(cursor, query, params, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", spy)
    return lengths
