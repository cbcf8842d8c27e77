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

from persyn import jobs, runs
from persyn.errors import PersynError
from persyn.inference import load, vllm
from persyn.inference.server import Server, reap_orphans
from persyn.inference.spec import ServerSpec
from persyn.leases import LeaseKeeper
from workers.failures import failures

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

REFUSED_AT_ONCE = 64


class Target(NamedTuple):
    """Where a teacher's requests go. `server` is None where someone else runs it."""

    base_url: str
    model: str
    api_key: str | None
    version: str | None
    server: Server | None


class Host:
    def __init__(self, engine: "Engine", home: Path) -> None:
        self.engine = engine
        self.home = home
        self.name = socket.gethostname()
        self.worker = f"{self.name}:{os.getpid()}"
        self.worker_node = f"persyn-{os.getpid()}@{self.name}"  # as Celery calls it
        self.stopping = threading.Event()
        self._server: Server | None = None
        self._spec: ServerSpec | None = None
        self.loaded_scorer: tuple[int, Any] | None = None  # workers.scoring keeps the student here between drains
        for pid in reap_orphans(home):
            log.warning("action=reap_orphan pid=%s a model server outlived its worker", pid)

    def serve(self, teacher: runs.TeacherVersion) -> Target:
        """The server that answers for this teacher, started if need be. Raises ServerError, ModelError."""
        config = teacher.config
        if config.endpoint is not None:
            key = os.environ.get(config.endpoint.api_key_env) if config.endpoint.api_key_env else None
            return Target(config.endpoint.url, config.model, key, None, None)
        spec = ServerSpec(
            model=load.model_path(config.model, config.revision, self.home),
            revision=config.revision,
            dtype=config.server.dtype,
            max_model_len=config.server.max_model_len,
            args=tuple(config.server.args),
        )
        if self._server is None or self._spec != spec or not self._server.alive():
            self.stop_server()
            if not vllm.is_cpu_build():
                self.loaded_scorer = None  # as free_accelerator, the other way round
            log.info("action=start_server model=%s", config.model)
            self._server = Server.start(spec, self.home, on_wait=self._log_wait)
            self._spec = spec
            log.info("action=server_ready model=%s pid=%s", config.model, self._server.pid)
        server = self._server
        return Target(server.base_url, server.model_name, None, server.version, server)

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def free_accelerator(self) -> None:
        """Make room for a model of our own: vLLM takes all of a GPU's memory, and none that matters on a CPU."""
        if not vllm.is_cpu_build():
            self.stop_server()

    def lease(self, queue: str) -> LeaseKeeper:
        return LeaseKeeper(self.engine, worker=self.worker, host=self.name, queue=queue)

    def refuse(
        self, queue: str, error: PersynError, *, teacher_id: int | None = None, scorer_ids: Sequence[int] | None = None
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
