"""The one model server that a worker keeps warm.

Teachers that share a model share it; another model takes its place.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from persyn import counters
from persyn.config import Teacher
from persyn.errors import PersynError
from persyn.inference import models
from persyn.inference.servers import kinds, vllm
from persyn.inference.servers.server import READY_WITHIN_S, Server, reap_orphans
from persyn.inference.servers.spec import ServerSpec

log = logging.getLogger(__name__)


class ModelServer:
    """Starts, keeps and stops the server that answers for this worker's teachers."""

    def __init__(
        self, home: Path, path_of: Callable[[str, str | None], str], *, tensor_parallel: int,
        make_room: Callable[[], None], load_s: float = READY_WITHIN_S,
    ) -> None:  # fmt: skip
        """`tensor_parallel`: over how many GPUs a server spreads its model. `make_room` frees a GPU for a server.

        `path_of` finds a model's files by its reference and revision; it may fetch them.
        A server that does not answer within `load_s` of its start is given up.
        """
        self._load_s = load_s
        self._home, self._path_of = home, path_of
        self._tensor_parallel = tensor_parallel
        self._make_room = make_room
        self._server: Server | None = None
        self._spec: ServerSpec | None = None
        for pid in reap_orphans(home):
            log.warning("action=reap_orphan pid=%s a model server outlived its worker", pid)

    def serve(self, teacher: Teacher) -> Server:
        """The server that answers for this teacher, started if need be. Raises ServerError, ModelError."""
        spec = self._spec_of(teacher)
        if self._server is not None and not self._server.alive():
            log.warning("action=server_gone pid=%s its log is %s", self._server.pid, self._server.log)
        if self._server is None or self._spec != spec or not self._server.alive():
            located = self._located(spec)
            self.stop()
            self._spec = spec
            if self._takes_gpu():
                self._make_room()
            log.info("action=start_server kind=%s model=%s", spec.kind, teacher.model)
            self._server = Server.start(
                located, self._home, name=teacher.name, on_wait=_log_wait, ready_timeout_s=self._load_s
            )
            counters.SERVER_STARTS.labels(spec.model).inc()
            log.info("action=server_ready model=%s pid=%s log=%s", teacher.model, self._server.pid, self._server.log)
        return self._server

    def holds(self, teacher: Teacher) -> bool:
        """Whether the server of this teacher's model is the one that runs; a wrong guess costs one swap."""
        try:
            return self._server is not None and self._spec == self._spec_of(teacher)
        except PersynError:  # its drain will say what is wrong
            return False

    def leaves_gpu_free(self) -> bool:
        """Whether a model of the worker's own finds a GPU's memory free."""
        return self._server is None or not self._takes_gpu()

    def free_gpu(self) -> None:
        """Make room for a model of the worker's own: a server takes a GPU's memory, and none that matters on a CPU."""
        if not self.leaves_gpu_free():
            self.stop()

    def stop(self) -> None:
        """End the server where one runs."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _spec_of(self, teacher: Teacher) -> ServerSpec:
        """With the model as the teacher names it; only a server that is started needs its files."""
        return ServerSpec(
            model=teacher.needed_model(),
            revision=teacher.revision,
            dtype=teacher.server.dtype,
            max_model_len=teacher.server.max_model_len,
            args=tuple(teacher.server.args),
            kind=kinds.resolve(teacher.server.kind),
            tensor_parallel=self._tensor_parallel,
        )

    def _located(self, spec: ServerSpec) -> ServerSpec:
        """With the folder of the model, which has no revisions, or its name on the hub."""
        if spec.kind == "stub":
            return spec
        path = self._path_of(spec.model, spec.revision)
        return spec._replace(model=path, revision=None if Path(path).is_dir() else spec.revision)

    def _takes_gpu(self) -> bool:
        """Whether the server holds a GPU's memory, which no other model may then use."""
        match self._spec and self._spec.kind:
            case "vllm":
                return not vllm.is_cpu_build()
            case "transformers":
                return models.has_accelerator()
        return False


def _log_wait(seconds: float) -> None:
    if int(seconds) % 10 == 0:
        log.info("action=wait_for_server seconds=%d", seconds)
