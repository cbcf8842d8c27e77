"""One worker process: its name, its flags to stop, its queues, and the models that it keeps warm.

A host is a machine; several workers may run on one.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from persyn import jobs, versions
from persyn.config import Endpoint
from persyn.errors import ConfigError, EndpointPaused
from persyn.inference.clients.access import reachable, read_key
from persyn.inference.clients.pace import REFUSED_S, Pace
from persyn.inference.servers.server import Server
from persyn.inference.warm_model import WarmModel
from persyn.jobs import backlog, pauses, wake_ups
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.text import storable
from persyn.workers import scheduling
from persyn.workers.failures import failures
from persyn.workers.model_server import ModelServer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

FAILED_AT_ONCE = 64
# A round may enqueue a run of a million prompts, which takes minutes.
ROUND_AT_MOST_S = 1800.0


class Target(NamedTuple):
    """Where a teacher's requests go: to a server of this worker, or to an endpoint at its pace."""

    base_url: str
    model: str
    api_key: str | None = None
    version: str | None = None
    server: Server | None = None
    pace: Pace | None = None


class Worker:
    """The process that the drains share: database, leases, models, and whether it is leaving."""

    def __init__(
        self, engine: "Engine", home: Path, *, queues: Sequence[str] | None = None, tensor_parallel: int = 1
    ) -> None:
        """`queues` None: all queues that there are."""
        self.engine = engine
        self.home = home
        self.host = socket.gethostname()
        self.name = f"{self.host}:{os.getpid()}"
        self.stopping = threading.Event()  # hand back what is unfinished, now
        self.draining = threading.Event()  # finish what is in flight, claim nothing more
        self.warm = WarmModel(make_room=lambda: self.model_server.free_gpu())
        self.model_server = ModelServer(home, tensor_parallel=tensor_parallel, make_room=self.warm.drop)
        self.turned_at = time.monotonic()  # when the maintenance began its last round
        self._lease: LeaseKeeper | None = None
        self._queues = None if queues is None else frozenset(queues)
        self._paces: dict[str, Pace] = {}  # by teacher

    def leaving(self) -> bool:
        """Whether nothing more may be claimed."""
        return self.stopping.is_set() or self.draining.is_set()

    def lease(self, queue: str) -> LeaseKeeper:
        """A lease of this worker's on jobs of the queue; enter it to keep it."""
        self._lease = LeaseKeeper(self.engine, worker=self.name, host=self.host, queue=queue)
        return self._lease

    def trouble(self) -> str | None:
        """A sentence where this process is stuck, so that another in its place would do better, else None.

        A server that is away is not: workers wait for it.
        """
        if time.monotonic() - self.turned_at > ROUND_AT_MOST_S:
            return f"The maintenance has not turned for {ROUND_AT_MOST_S:.0f} s."
        return None if self._lease is None else self._lease.trouble()

    def target(self, teacher: versions.TeacherVersion) -> Target:
        """Where this teacher is asked; its server is started if need be.

        Raises ServerError, ModelError; EndpointPaused where the key to its endpoint is not in the environment.
        """
        endpoint = teacher.config.endpoint
        if endpoint is not None:
            return self._endpoint(teacher, endpoint)
        server = self.model_server.serve(teacher.config)
        return Target(server.base_url, server.model_name, version=server.version, server=server)

    def _endpoint(self, teacher: versions.TeacherVersion, endpoint: Endpoint) -> Target:
        name = teacher.config.name
        try:
            owner = f"The teacher {name} (worker {self.name})"
            key, endpoint = read_key(endpoint, owner), reachable(endpoint, owner)
        except ConfigError as exc:
            raise EndpointPaused(str(exc), REFUSED_S) from exc
        pace = self._paces.get(name)
        if pace is None or pace.endpoint != endpoint:
            pace = self._paces[name] = Pace(endpoint)
        return Target(endpoint.url, teacher.config.needed_model(), api_key=key, pace=pace)

    def next_queue(self) -> str | None:
        """The queue to drain now, of those with work that this worker serves."""
        return scheduling.choose(self._candidates())

    def must_yield(self, current: str) -> bool:
        """Whether a drain that still has work must end, because another queue has starved."""
        return scheduling.should_yield(current, self._candidates())

    def _candidates(self) -> list[scheduling.Candidate]:
        with self.engine.connect() as conn:
            waiting = [item for item in backlog.read(conn) if self._queues is None or item.queue in self._queues]
            return [scheduling.Candidate(*item, loaded=self._is_loaded(conn, item.queue)) for item in waiting]

    def _is_loaded(self, conn: "Connection", queue: str) -> bool:
        """Whether the queue's next jobs need no other model than what is loaded."""
        if wake_ups.teacher_of(queue) is None:
            return self.model_server.leaves_gpu_free()
        group = jobs.next_group(conn, queue)
        if group is None or group[0] is None:
            return False
        teacher = versions.load_teacher(conn, group[0]).config
        return teacher.endpoint is not None or self.model_server.holds(teacher)

    def pause(self, queue: str, paused: EndpointPaused) -> None:
        """Hold the queue back, for every worker, until its endpoint may be asked again."""
        log.warning("action=pause queue=%s seconds=%.0f %s", queue, paused.seconds, paused)
        reason = storable(str(paused), jobs.DETAIL_LIMIT)
        with self.engine.begin() as conn:
            pauses.pause_queue(conn, queue, reason=reason, by=self.name, seconds=paused.seconds)

    def fail_batch(
        self, queue: str, error: Exception, *, teacher_id: int | None = None, scorer_ids: Sequence[int] | None = None
    ) -> None:
        """Write into the rows of a batch that what they need does not start here; they wait and are tried again."""
        with self.lease(queue) as lease, self.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, FAILED_AT_ONCE, teacher_id=teacher_id, scorer_ids=scorer_ids)
            if claims:
                jobs.fail(conn, lease.id, failures([claim.id for claim in claims], error))

    def close(self) -> None:
        """Stop the model server and give the database's connections back."""
        self.model_server.stop()
        self.engine.dispose()
