"""Drains a teacher's queue: many requests in flight, refilled as answers come in, stored in small batches."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from persyn import chat, counters, jobs, logs, versions
from persyn.errors import EndpointPaused, JobFailed, RequestFailed
from persyn.inference.clients.batch import PacedRequests
from persyn.inference.clients.chat_completions import TIMEOUT_S, Completion, TeacherClient
from persyn.inference.clients.evidence import HARMLESS
from persyn.inference.servers import kinds
from persyn.inference.servers.server import ProgressWatch, Server
from persyn.jobs import pauses
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import generate
from persyn.workers.blame import Fault, blame, told
from persyn.workers.fitness import Need
from persyn.workers.storing import store_each
from persyn.workers.worker import Target, Worker

log = logging.getLogger(__name__)

IN_FLIGHT = 64  # at most what one claim may take (protocol step 1)
# Claimed ahead, so that a free place at the server is taken at once and not after the next claim.
AHEAD = 16
# `transformers serve` answers one request after the other; a drawn answer is its seed's only if it is alone there.
IN_FLIGHT_TRANSFORMERS = 4
# A queue that gave less than was asked for is not asked again for so long, while there is something to wait for.
EMPTY_S = 1.0
YIELD_CHECK_S = 30.0
STORE_AFTER_S = 2.0
STORE_AFTER_ROWS = 64
STORE_AFTER_BYTES = 8_000_000
WATCH_S = 5.0
# An engine that died answers 500 or cuts the line some seconds before its process is gone.
DEATH_CONFIRMED_WITHIN_S = 15.0
_DEATH_CODES = frozenset({"connection", "server_error", "garbage"})


def drain_teacher(worker: Worker, queue: str) -> None:
    """Answer the queue's due jobs until none is left, one teacher version after the other. Raises LeaseLost."""
    while not worker.leaving():
        with worker.engine.connect() as conn:
            group = worker.next_group(conn, queue)
            teacher_id = None if group is None else group.teacher_id
            teacher = None if teacher_id is None else versions.load_teacher(conn, teacher_id)
        if teacher is None or (teacher.config.endpoint is None and not worker.may_load(queue)):
            return
        if teacher.config.model is None:
            message = f"the teacher {teacher.config.name} has no model: import its answers, or give it a model"
            worker.fail_batch(queue, JobFailed("no_model", message, permanent=True), teacher_id=teacher.id)
            continue
        with logs.about(teacher=teacher.config.name):
            if _leave_after(worker, queue, teacher):
                return


def _leave_after(worker: Worker, queue: str, teacher: versions.TeacherVersion) -> bool:
    """Answer what is due of one teacher version, if this host can; returns whether the queue is to be left then."""
    needs = [Need(queue, teacher_id=teacher.id)]
    try:
        target = worker.target(teacher)
        worker.is_fit(needs)
        with worker.lease(queue) as lease:
            drain = Drain(worker, lease, queue, teacher, target)
            asyncio.run(drain.run())
            return drain.ending
    except EndpointPaused as exc:
        worker.hold(pauses.Part(queue, teacher_id=teacher.id), exc)
        return False
    except Exception as exc:
        if blame(exc) is not Fault.HOST:
            raise
        worker.is_unfit(needs, exc)
        return False


def _client(target: Target, teacher: str, *, for_transformers: bool) -> TeacherClient:
    if target.pace is None:
        return TeacherClient(
            target.base_url, target.model, for_transformers=for_transformers, teacher=teacher, is_own=True
        )
    endpoint = target.pace.endpoint
    return TeacherClient(
        endpoint.url, target.model, api_key=target.api_key, headers=endpoint.headers,
        timeout_s=endpoint.timeout_s or TIMEOUT_S, teacher=teacher,
    )  # fmt: skip


class Drain:
    """Answers a queue's jobs for one teacher version under one lease."""

    def __init__(
        self, worker: Worker, lease: LeaseKeeper, queue: str, teacher: versions.TeacherVersion, target: Target
    ) -> None:
        self.worker, self.lease, self.queue, self.teacher, self.target = worker, lease, queue, teacher, target
        self.counts_tokens = target.server is None or kinds.counts_tokens(target.server.kind)
        self.watch = ProgressWatch() if self.counts_tokens else ProgressWatch(stall_s=TIMEOUT_S)
        self.cursor = jobs.ClaimCursor()
        self.answers = 0
        self.watched_at = time.monotonic()
        self.client = _client(target, teacher.config.name, for_transformers=not self.counts_tokens)
        places = IN_FLIGHT if target.pace is None else target.pace.endpoint.concurrency
        self.requests = PacedRequests(places, target.pace, control=self._ask_control)
        self.ending = False  # what is in flight is waited for, and nothing joins it
        self.yield_checked_at = self.looked_at = time.monotonic()
        self.in_flight: dict[asyncio.Task[Completion], generate.GenerationRequest] = {}
        self.generations: list[generate.NewGeneration] = []
        self.failures: list[jobs.Failure] = []
        self.doubtful: list[jobs.Failure] = []  # failed in a way that a dying server explains
        self.stored_at, self.unstored_bytes = time.monotonic(), 0
        self.claim_again_at = 0.0
        self.died = False
        self.alone = False  # a suspect is in flight, and nothing may join it
        self.stage = 0  # of the job that was claimed last

    async def run(self) -> None:
        """Answer until nothing is due. Raises LeaseLost, and then drops what is in flight, and EndpointPaused."""
        try:
            await self._refill()
            while self.in_flight:
                done, _ = await asyncio.wait(self.in_flight, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                self.lease.beat()
                self._collect(done)
                await self._check_server()
                await self._store(force=not self.in_flight)
                if self.died or self.worker.stopping.is_set():
                    break
                await self._check_end()
                await self._refill()
            await self._store(force=True)
            if self.requests.paused is not None:
                raise self.requests.paused
        finally:
            await self._cancel(list(self.in_flight))
            await self.client.aclose()

    async def _refill(self) -> None:
        limit = self._limit()
        room = min(IN_FLIGHT, limit - len(self.in_flight))
        if self.ending or self.worker.leaving() or (self.alone and self.in_flight):
            return
        if self.in_flight and (room < max(1, limit // 8) or time.monotonic() < self.claim_again_at):
            return  # a claim costs a round trip: let some room gather, and an empty queue fill
        requests = await asyncio.to_thread(self._claim, room)
        if len(requests) < room:
            self.claim_again_at = time.monotonic() + EMPTY_S
        for request in requests:
            self.alone = request.claim.lost_count >= jobs.ALONE_AFTER_LOSSES
            self.stage = request.claim.stage
            self.in_flight[asyncio.create_task(self._ask(request))] = request

    def _limit(self) -> int:
        return self._usual_limit() + self.requests.room_for_witnesses

    def _usual_limit(self) -> int:
        if self.target.pace is not None:
            return self.target.pace.limit
        if self.counts_tokens:
            return IN_FLIGHT + AHEAD
        return 1 if self.teacher.config.sampling.draws else IN_FLIGHT_TRANSFORMERS

    async def _ask(self, request: generate.GenerationRequest) -> Completion:
        if request.tools is not None and not self.teacher.config.tools:
            message = f"the prompt has tools, and the teacher {self.teacher.config.name} has no `tools: true`"
            raise JobFailed("no_tools", message, permanent=True)
        return await self.requests.ask(
            lambda: self._send(request.messages, request.seed, request.tools or ()),
            lambda completion: completion.tokens,
        )

    async def _ask_control(self) -> Completion:
        return await self._send(HARMLESS, 0)

    async def _send(
        self, messages: list[dict[str, Any]], seed: int, tools: Sequence[dict[str, Any]] = ()
    ) -> Completion:
        config = self.teacher.config
        examples = [example.model_dump() for example in config.examples]
        conversation = chat.conversation(messages, system_prompt=config.system_prompt, examples=examples)
        return await self.client.generate(conversation, config.sampling, seed, tools=tools)

    async def _check_end(self) -> None:
        """End where the endpoint is paused, a run is held back, or another queue of this worker has waited too long.

        A request at the endpoint is waited for; one that has not left goes back with its job unspent.
        """
        if self.requests.paused is not None or await self._is_withdrawn():
            self.ending = True
            waiting = [task for task in self.in_flight if task not in self.requests.sent and not task.done()]
            await self._cancel(waiting)
        if self.ending or time.monotonic() - self.yield_checked_at < YIELD_CHECK_S:
            return
        self.yield_checked_at = time.monotonic()
        if await asyncio.to_thread(self.worker.must_yield, self.queue):
            log.info("action=yield queue=%s another queue has waited too long", self.queue)
            self.ending = True
        elif await asyncio.to_thread(self.worker.is_overtaken, self.queue, self.stage):
            log.info("action=yield queue=%s an earlier stage waits", self.queue)
            self.ending = True

    async def _is_withdrawn(self) -> bool:
        """Whether one of the runs was paused or cancelled while requests wait for their turn."""
        unsent = [request.claim.run_id for task, request in self.in_flight.items() if task not in self.requests.sent]
        if not unsent or time.monotonic() - self.looked_at < WATCH_S:
            return False
        self.looked_at = time.monotonic()
        return await asyncio.to_thread(self._any_paused, unsent)

    def _any_paused(self, run_ids: Sequence[int]) -> bool:
        with self.worker.engine.connect() as conn:
            return pauses.any_paused(conn, run_ids)

    async def _cancel(self, tasks: Sequence[asyncio.Task[Completion]]) -> None:
        for task in tasks:
            task.cancel()
            del self.in_flight[task]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _claim(self, room: int) -> list[generate.GenerationRequest]:
        with self.worker.engine.begin() as conn:
            claims = jobs.claim(
                conn, self.lease.id, self.queue, room, idle=not self.in_flight, cursor=self.cursor,
                teacher_id=self.teacher.id,
            )  # fmt: skip
            return generate.requests(conn, claims, self.teacher.config.sampling)

    def _collect(self, done: set[asyncio.Task[Completion]]) -> None:
        self.answers += len(done)
        for task in done:
            request = self.in_flight.pop(task)
            try:
                completion = task.result()
            except EndpointPaused:
                continue  # the job goes back unspent with the lease
            except RequestFailed as exc:
                supervised = self.target.server is not None
                doubtful = supervised and exc.code in _DEATH_CODES
                (self.doubtful if doubtful else self.failures).extend(told(request.claim, exc))
            except Exception as exc:  # one prompt's, never its neighbours'
                if blame(exc) is Fault.HOST:
                    raise
                self.failures += told(request.claim, exc)
            else:
                version = self.target.version
                self.generations.append(generate.NewGeneration(request, **completion._asdict(), server_version=version))
                self.unstored_bytes += self.generations[-1].size

    async def _check_server(self) -> None:
        """Stop a server that hangs; tell the failures of a dead one from a live one's."""
        server = self.target.server
        if server is None:
            return
        if time.monotonic() - self.watched_at >= WATCH_S:
            self.watched_at = time.monotonic()
            # Without a counter of tokens, whole answers show the progress.
            tokens = await asyncio.to_thread(server.tokens) if self.counts_tokens else self.answers
            if self.watch.hung(time.monotonic(), tokens, len(self.in_flight)):
                in_flight = len(self.in_flight)
                log.warning("action=server_hung pid=%s in_flight=%d its log is %s", server.pid, in_flight, server.log)
                await asyncio.to_thread(server.stop)
        if self.doubtful and await self._still_works(server):
            self.failures += self.doubtful
            self.doubtful = []
        if not server.alive() or self.doubtful:
            self.died = True
            log.warning("action=server_died pid=%s its log is %s", server.pid, server.log)
            await self._lose("the model server died while it worked on this")

    async def _still_works(self, server: Server) -> bool:
        """Whether the server outlives a failure: an engine that died takes its process along within seconds."""
        deadline = time.monotonic() + DEATH_CONFIRMED_WITHIN_S
        while server.alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            if await asyncio.to_thread(server.healthy):
                return True
        await asyncio.to_thread(server.stop)
        return False

    async def _lose(self, detail: str) -> None:
        """Report lost what was at the server when it died; earlier answers are kept, unsent requests go back."""
        at_server = [request for task, request in self.in_flight.items() if task.done() or task in self.requests.sent]
        ids = [failure.job_id for failure in self.doubtful] + [request.claim.id for request in at_server]
        await self._cancel(list(self.in_flight))
        self.doubtful = []
        await self._store(force=True)
        if ids:
            await asyncio.to_thread(self._write_lost, ids, detail)

    def _write_lost(self, ids: Sequence[int], detail: str) -> None:
        with self.worker.engine.begin() as conn:
            jobs.report_lost(conn, self.lease.id, ids, detail)

    async def _store(self, *, force: bool) -> None:
        waiting = len(self.generations) + len(self.failures)
        overdue = time.monotonic() - self.stored_at >= STORE_AFTER_S
        many = waiting >= STORE_AFTER_ROWS or self.unstored_bytes >= STORE_AFTER_BYTES
        if not waiting or not (force or overdue or many):
            return
        await asyncio.to_thread(self._write)
        self.generations, self.failures, self.stored_at, self.unstored_bytes = [], [], time.monotonic(), 0

    def _write(self) -> None:
        with self.worker.engine.begin() as conn:
            refused = store_each(conn, self.lease.id, self.generations, generate.store, _job_of, _size_of)
            if refused or self.failures:
                jobs.fail(conn, self.lease.id, [*self.failures, *refused])
        lost = {failure.job_id for failure in refused}
        stored = [one for one in self.generations if _job_of(one) not in lost]
        counters.answered(
            self.teacher.config.name, sum(one.prompt_tokens or 0 for one in stored),
            sum(one.completion_tokens or 0 for one in stored), len(stored),
        )  # fmt: skip
        with logs.about(run=logs.several(one.request.claim.run_id for one in self.generations)):
            log.info(
                "action=store lease=%s queue=%s answers=%d failures=%d",
                self.lease.id, self.queue, len(stored), len(self.failures) + len(refused),
            )  # fmt: skip


def _job_of(generation: generate.NewGeneration) -> int:
    return generation.request.claim.id


def _size_of(generation: generate.NewGeneration) -> int:
    return generation.size
