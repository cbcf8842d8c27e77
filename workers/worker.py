"""One worker process: where it stands, what it serves, and the model server it keeps warm.

One server at a time: teachers that share a model share it, another model takes its place.
"""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from persyn import counters, jobs, runs
from persyn.config import Endpoint, Teacher
from persyn.errors import PersynError
from persyn.inference import models
from persyn.inference.clients.pace import REFUSED_S, Pace, TeacherPaused
from persyn.inference.servers import kinds, vllm
from persyn.inference.servers.server import Server, reap_orphans
from persyn.inference.servers.spec import ServerSpec
from persyn.jobs import backlog, pauses, wake_ups
from persyn.jobs.lease_keeper import LeaseKeeper
from workers import scheduling
from workers.failures import failures

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

REFUSED_AT_ONCE = 64


class Target(NamedTuple):
    """Where a teacher's requests go. `server` is None where someone else runs it."""

    base_url: str
    model: str
    api_key: str | None
    version: str | None
    server: Server | None
    pace: Pace | None = None  # of an endpoint that someone else runs


class Host:
    def __init__(
        self, engine: "Engine", home: Path, *, queues: Sequence[str] | None = None, tensor_parallel: int = 1
    ) -> None:
        """`queues` None: whatever there is. `tensor_parallel`: over how many GPUs a server spreads its model."""
        self.engine = engine
        self.home = home
        self.name = socket.gethostname()
        self.worker = f"{self.name}:{os.getpid()}"
        self.worker_node = f"persyn-{os.getpid()}@{self.name}"  # as Celery calls it
        self.stopping = threading.Event()  # hand back what is unfinished, now
        self.draining = threading.Event()  # finish what is in flight, claim nothing more
        self._server: Server | None = None
        self._spec: ServerSpec | None = None
        self._queues = None if queues is None else frozenset(queues)
        self._tensor_parallel = tensor_parallel
        self._paces: dict[str, Pace] = {}  # by teacher
        self.loaded_scorer: tuple[int, Any] | None = None  # workers.score keeps the student here between drains
        for pid in reap_orphans(home):
            log.warning("action=reap_orphan pid=%s a model server outlived its worker", pid)

    def serve(self, teacher: runs.TeacherVersion) -> Target:
        """The server that answers for this teacher, started if need be.

        Raises ServerError, ModelError; TeacherPaused where the key to its endpoint is not in the environment.
        """
        config = teacher.config
        if config.endpoint is not None:
            return self._remote(teacher, config.endpoint)
        spec = self._spec_of(config)
        if self._server is None or self._spec != spec or not self._server.alive():
            self.stop_server()
            self._spec = spec
            if self._takes_gpu():
                self.loaded_scorer = None  # as free_accelerator, the other way round
            log.info("action=start_server kind=%s model=%s", spec.kind, config.model)
            self._server = Server.start(spec, self.home, on_wait=self._log_wait)
            counters.SERVER_STARTS.labels(spec.model).inc()
            log.info("action=server_ready model=%s pid=%s", config.model, self._server.pid)
        server = self._server
        return Target(server.base_url, server.model_name, None, server.version, server)

    def _remote(self, teacher: runs.TeacherVersion, endpoint: Endpoint) -> Target:
        variable = endpoint.api_key_env
        key = os.environ.get(variable) if variable else None
        if variable and not key:
            raise TeacherPaused(
                f"The teacher {teacher.config.name} needs the key of {endpoint.url} in the environment variable "
                f"{variable}, which is not set for the worker {self.worker}. Set it and start the worker again.",
                REFUSED_S,
            )
        pace = self._paces.get(teacher.config.name)
        if pace is None or pace.endpoint != endpoint:
            pace = self._paces[teacher.config.name] = Pace(endpoint)
        return Target(endpoint.url, teacher.config.needed_model(), key, None, None, pace)

    def _spec_of(self, config: Teacher) -> ServerSpec:
        return ServerSpec(
            model=config.needed_model() if config.server.kind == "stub" else self._path(config),
            revision=config.revision,
            dtype=config.server.dtype,
            max_model_len=config.server.max_model_len,
            args=tuple(config.server.args),
            kind=kinds.resolve(config.server.kind),
            tensor_parallel=self._tensor_parallel,
        )

    def _path(self, config: Teacher) -> str:
        return models.model_path(config.needed_model(), config.revision, self.home)

    def next_queue(self) -> str | None:
        """The queue to drain now, of those with work that this worker serves (workers/scheduling.py says which)."""
        return scheduling.choose(self._candidates())

    def must_yield(self, current: str) -> bool:
        """Whether a drain that still has work must end, because another queue has starved."""
        return scheduling.should_yield(current, self._candidates())

    def _candidates(self) -> list[scheduling.Candidate]:
        with self.engine.connect() as conn:
            waiting = [item for item in backlog.read(conn) if self._queues is None or item.queue in self._queues]
            return [scheduling.Candidate(*item, loaded=self._is_loaded(conn, item.queue)) for item in waiting]

    def _is_loaded(self, conn: "Connection", name: str) -> bool:
        """Whether the queue's next jobs need no other model than what is loaded; a guess here costs one swap."""
        if wake_ups.teacher_of(name) is None:
            return self._server is None or not self._takes_gpu()
        group = jobs.next_group(conn, name)
        if group is None or group[0] is None:
            return False
        config = runs.load_teacher(conn, group[0]).config
        if config.endpoint is not None:
            return True
        try:
            return self._server is not None and self._spec == self._spec_of(config)
        except PersynError:  # its drain will say what is wrong
            return False

    def pause(self, name: str, paused: TeacherPaused) -> None:
        log.warning("action=pause queue=%s seconds=%.0f %s", name, paused.seconds, paused)
        with self.engine.begin() as conn:
            pauses.pause_queue(conn, name, reason=jobs.storable(str(paused)), by=self.worker, seconds=paused.seconds)

    def _takes_gpu(self) -> bool:
        """Whether the server holds a GPU's memory, which no other model may then use."""
        match self._spec and self._spec.kind:
            case "vllm":
                return not vllm.is_cpu_build()
            case "transformers":
                return models.has_accelerator()
        return False

    def leaving(self) -> bool:
        """Whether nothing more may be claimed."""
        return self.stopping.is_set() or self.draining.is_set()

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def free_accelerator(self) -> None:
        """Make room for a model of our own: a server takes a GPU's memory, and none that matters on a CPU."""
        if self._server is not None and self._takes_gpu():
            self.stop_server()

    def lease(self, queue: str) -> LeaseKeeper:
        return LeaseKeeper(self.engine, worker=self.worker, host=self.name, queue=queue)

    def refuse(
        self, queue: str, error: Exception, *, teacher_id: int | None = None, scorer_ids: Sequence[int] | None = None
    ) -> None:
        """Write into the rows of a batch that what they need does not start here; they wait and are tried again."""
        with self.lease(queue) as lease, self.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, REFUSED_AT_ONCE, teacher_id=teacher_id, scorer_ids=scorer_ids)
            if claims:
                jobs.fail(conn, lease.id, failures([claim.id for claim in claims], error))

    def close(self) -> None:
        self.stop_server()
        self.engine.dispose()

    def _log_wait(self, seconds: float) -> None:
        if int(seconds) % 10 == 0:
            log.info("action=wait_for_server seconds=%d", seconds)
