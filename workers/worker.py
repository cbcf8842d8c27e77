"""One worker process: its name, its flags to stop, its queues, and the models that it keeps warm.

A host is a machine; several workers may run on one.
"""

import importlib.util
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from persyn import jobs, versions
from persyn.config import Endpoint
from persyn.errors import EndpointPaused, MissingExtra, PersynError
from persyn.inference.clients.access import reachable, read_key
from persyn.inference.clients.pace import Pace, Paces
from persyn.inference.servers.server import READY_WITHIN_S, Server
from persyn.inference.warm_model import WarmModel
from persyn.jobs import backlog, pauses, wake_ups
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import model_paths
from persyn.text import storable
from persyn.workers import blame, scheduling
from persyn.workers.fitness import Fitness, Need
from persyn.workers.model_server import ModelServer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

# Endpoints that one worker asks side by side, beside the work on its own host. Each takes up to two connections.
ASIDE = 3
PLACES = scheduling.Places(ASIDE)
FAILED_AT_ONCE = 64
REASON_LIMIT = 500
# The packages without which a host can do nothing of a queue, the extra that brings them, and what then is left.
NEEDS = {
    wake_ups.SCORE_LEARNABILITY: (
        ("torch", "transformers"), "train", "quality without a reward model is scored all the same"
    ),
    wake_ups.TRAIN: (
        ("torch", "transformers", "trl", "peft", "datasets"), "students", "other hosts train students meanwhile"
    ),
}  # fmt: skip
# A round may enqueue a run of a million prompts, which takes minutes.
ROUND_AT_MOST_S = 1800.0


@cache
def own_name() -> str:
    """The name of this process's worker. Two containers may share the name of their host, and both have a process 1."""
    return f"{socket.gethostname()}:{os.getpid()}-{token_hex(3)}"


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
        self, engine: "Engine", home: Path, *, queues: Sequence[str] | None = None, tensor_parallel: int = 1,
        load_s: float = READY_WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`queues` None: all queues that there are."""
        self.engine = engine
        self.home = home
        self.host = socket.gethostname()
        self.name = own_name()
        self.stopping = threading.Event()  # hand back what is unfinished, now
        self.draining = threading.Event()  # finish what is in flight, claim nothing more
        self.warm = WarmModel(make_room=lambda: self.model_server.free_gpu())
        self.model_server = ModelServer(
            home, self.path_of, tensor_parallel=tensor_parallel, make_room=self.warm.drop, load_s=load_s
        )
        self.paces = Paces()
        self.fitness = Fitness()
        self.turned_at = time.monotonic()  # when the maintenance began its last round
        self.busy_at = time.monotonic()  # when it last took or left a queue
        self._leases: WeakSet[LeaseKeeper] = WeakSet()
        self._queues = None if queues is None else frozenset(queues)
        self._clock = clock
        self._choosing = threading.Lock()
        self._drained: dict[str, bool] = {}  # queue → whether it is drained aside

    def path_of(self, ref: str, revision: str | None) -> str:
        """A model's folder or hub name, fetched if need be. Raises as `model_paths.path_of`."""
        return model_paths.path_of(self.engine, self.home, ref, revision)

    def leaving(self) -> bool:
        """Whether nothing more may be claimed."""
        return self.stopping.is_set() or self.draining.is_set()

    def lease(self, queue: str) -> LeaseKeeper:
        """A lease of this worker's on jobs of the queue; enter it to keep it."""
        lease = LeaseKeeper(self.engine, worker=self.name, host=self.host, queue=queue, charge=blame.charged)
        self._leases.add(lease)
        return lease

    def trouble(self) -> str | None:
        """A sentence where this process is stuck, so that another in its place would do better, else None.

        A server that is away is not: workers wait for it.
        """
        if time.monotonic() - self.turned_at > ROUND_AT_MOST_S:
            return f"The maintenance has not turned for {ROUND_AT_MOST_S:.0f} s."
        return next(filter(None, (lease.trouble() for lease in list(self._leases))), None)

    def target(self, teacher: versions.TeacherVersion) -> Target:
        """Where this teacher is asked; its server is started if need be.

        Raises ServerError, ModelError; ConfigError where the key to its endpoint is not in the environment.
        """
        endpoint = teacher.config.endpoint
        if endpoint is not None:
            return self._endpoint(teacher, endpoint)
        server = self.model_server.serve(teacher.config)
        return Target(server.base_url, server.model_name, version=server.version, server=server)

    def _endpoint(self, teacher: versions.TeacherVersion, endpoint: Endpoint) -> Target:
        name = teacher.config.name
        owner = f"The teacher {name} (worker {self.name})"
        key, endpoint = read_key(endpoint, owner), reachable(endpoint, owner)
        pace = self.paces.of(name, endpoint)
        pace.opened()
        return Target(endpoint.url, teacher.config.needed_model(), api_key=key, pace=pace)

    def take_queue(self) -> str | None:
        """Take the queue to drain now, of those with work that this worker serves and has a place for."""
        with self._choosing:
            free = PLACES.free_for(self._candidates(), self._drained)
            chosen = scheduling.choose(free)
            if chosen is not None:
                self._drained[chosen] = next(each.aside for each in free if each.queue == chosen)
                self.busy_at = time.monotonic()
            return chosen

    def leave_queue(self, queue: str) -> None:
        """Free the place of a queue that was taken."""
        with self._choosing:
            self._drained.pop(queue, None)
            self.busy_at = time.monotonic()

    def drained(self) -> list[str]:
        """The queues that are drained now."""
        return sorted(self._drained)

    def look_at_host(self) -> None:
        """Be unfit for what needs a package that this host lacks, before a job of it comes."""
        for queue, (packages, extra, rest) in NEEDS.items():
            listens = self._queues is None or queue in self._queues
            missing = next((name for name in packages if importlib.util.find_spec(name) is None), None)
            if listens and missing is not None and self.fitness.serves(queue, self._clock()):
                what = "loaded" if queue == wake_ups.SCORE_LEARNABILITY else "trained"
                self.is_unfit([Need(queue)], MissingExtra(
                    f"{missing} is not installed on this host, so no student can be {what}. Install it, `pip install"
                    f" 'persyn[{extra}]'`; {rest}."
                ))  # fmt: skip

    def may_load(self, queue: str) -> bool:
        """Whether the drain of this queue may load a model: those aside leave that to the one that is not."""
        return not self._drained.get(queue, False)

    def must_yield(self, current: str) -> bool:
        """Whether a drain that still has work must end, for an earlier stage or a queue that has starved."""
        return scheduling.should_yield(current, PLACES.rivals_of(current, self._candidates(), self._drained))

    def _candidates(self) -> list[scheduling.Candidate]:
        with self.engine.connect() as conn:
            waiting = [item for item in backlog.read(conn) if self._serves(item.queue)]
            found = [self._candidate(conn, item) for item in waiting]
        return [candidate for candidate in found if candidate is not None]

    def _serves(self, queue: str) -> bool:
        return (self._queues is None or queue in self._queues) and self.fitness.serves(queue, self._clock())

    def _candidate(self, conn: "Connection", item: backlog.Backlog) -> scheduling.Candidate | None:
        """None where the queue holds nothing that this worker can do."""
        group = self.next_group(conn, item.queue)
        if group is None:
            return None
        if wake_ups.teacher_of(item.queue) is None or group.teacher_id is None:
            return scheduling.Candidate(*item, loaded=self.model_server.leaves_gpu_free(), stage=group.stage)
        try:
            teacher = versions.load_teacher(conn, group.teacher_id).config
        except (ValueError, PersynError) as exc:  # a configuration of another version's
            self.is_unfit([Need(item.queue, teacher_id=group.teacher_id)], exc)
            return None
        aside = teacher.endpoint is not None
        loaded = aside or self.model_server.holds(teacher)
        return scheduling.Candidate(*item, loaded=loaded, aside=aside, stage=group.stage)

    def next_group(self, conn: "Connection", queue: str) -> jobs.Group | None:
        """The needs of the queue's next job, of those that this worker can do; None where none is due."""
        return jobs.next_group(conn, queue, without=self.fitness.without(queue, self._clock()))

    def is_overtaken(self, queue: str, stage: int) -> bool:
        """Whether the queue holds work of an earlier stage than what is being done, for another teacher or scorer."""
        with self.engine.connect() as conn:
            group = self.next_group(conn, queue)
        return group is not None and group.stage < stage

    def hold(self, part: pauses.Part, paused: EndpointPaused) -> None:
        """Hold a part of a queue back, for every worker, until its endpoint may be asked again."""
        log.warning("action=pause queue=%s seconds=%.0f %s", part.queue, paused.seconds, paused)
        reason = storable(str(paused), jobs.DETAIL_LIMIT)
        with self.engine.begin() as conn:
            pauses.hold_part(conn, part, reason=reason, by=self.name, seconds=paused.seconds)

    def is_unfit(self, needs: Sequence[Need], exc: BaseException) -> None:
        """Note that this host cannot do some work; its jobs are left to others, and it looks again later."""
        reason = storable(blame.explained(exc), REASON_LIMIT)
        waits = [self.fitness.failed(need, reason, self._clock()) for need in needs]
        log.warning("action=unfit queue=%s again_in_s=%.0f %s", needs[0].queue, max(waits), reason)

    def is_fit(self, needs: Sequence[Need]) -> None:
        """Note that this host can do some work, also where it could not before."""
        mended = [need for need in needs if self.fitness.worked(need)]
        if mended:
            log.info("action=fit queue=%s", needs[0].queue)

    def fail_batch(self, queue: str, error: Exception, *, teacher_id: int) -> None:
        """End a batch of jobs that nobody can do, as their rows say then."""
        with self.lease(queue) as lease, self.engine.begin() as conn:
            claims = jobs.claim(conn, lease.id, queue, FAILED_AT_ONCE, teacher_id=teacher_id)
            if claims:
                jobs.fail(conn, lease.id, blame.failures([claim.id for claim in claims], error))

    def close(self) -> None:
        """Stop the model server and give the database's connections back."""
        self.model_server.stop()
        self.engine.dispose()
