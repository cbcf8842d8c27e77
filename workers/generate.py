"""Draining a teacher's queue: many requests in flight, refilled as answers come in, stored in small batches."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from persyn import chat, counters, jobs, runs
from persyn.errors import GenerationFailed, PersynError
from persyn.inference.clients.chat_completions import TIMEOUT_S, Answer, TeacherClient
from persyn.inference.clients.pace import ENDPOINTS_FAULT, PATIENCE_S, REFUSALS_AT_MOST, TeacherPaused
from persyn.inference.servers import kinds
from persyn.inference.servers.server import ProgressWatch, Server
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import generate
from workers.failures import Failed, failures
from workers.worker import Host, Target

log = logging.getLogger(__name__)

IN_FLIGHT = 64  # at most what one claim may take (protocol step 1)
# Claimed ahead, so that a place which falls free at the server is taken at once and not after the next claim.
AHEAD = 16
# `transformers serve` answers one request after the other; what is drawn stays the seed's own only if it is alone.
IN_FLIGHT_TRANSFORMERS = 4
# A queue that gave less than was asked for is not asked again for so long, while there is something to wait for.
EMPTY_S = 1.0
YIELD_CHECK_S = 30.0
STORE_AFTER_S = 2.0
STORE_AFTER_ROWS = 64
WATCH_S = 5.0
# An engine that died answers 500 or cuts the line some seconds before its process is gone.
DEATH_CONFIRMED_WITHIN_S = 15.0
_DEATH_CODES = frozenset({"connection", "server_error", "garbage"})


def drain_teacher(host: Host, queue: str) -> None:
    """Answer the queue's due jobs until none is left, one teacher version after the other."""
    while not host.leaving():
        with host.engine.connect() as conn:
            group = jobs.next_group(conn, queue)
            teacher = None if group is None or group[0] is None else runs.load_teacher(conn, group[0])
        if teacher is None:
            return
        if teacher.config.model is None:
            message = f"the teacher {teacher.config.name} has no model: import its answers, or give it a model"
            host.refuse(queue, Failed("no_model", message, permanent=True), teacher_id=teacher.id)
            continue
        try:
            target = host.serve(teacher)
        except TeacherPaused:
            raise
        except PersynError as exc:
            host.refuse(queue, exc, teacher_id=teacher.id)
            raise
        with host.lease(queue) as lease:
            drain = Drain(host, lease, queue, teacher, target)
            asyncio.run(drain.run())
        if drain.ending:
            return


class Drain:
    """One lease's worth of answering."""

    def __init__(
        self, host: Host, lease: LeaseKeeper, queue: str, teacher: runs.TeacherVersion, target: Target
    ) -> None:
        self.host, self.lease, self.queue, self.teacher, self.target = host, lease, queue, teacher, target
        self.counts_tokens = target.server is None or kinds.counts_tokens(target.server.kind)
        self.watch = ProgressWatch() if self.counts_tokens else ProgressWatch(stall_s=TIMEOUT_S)
        self.reading = jobs.Reading()
        self.answers = 0
        self.watched_at = time.monotonic()
        self.client = TeacherClient(
            target.base_url, target.model, api_key=target.api_key, for_transformers=not self.counts_tokens
        )
        self.pace = target.pace
        self.unsent: set[asyncio.Task[Any]] = set()  # claimed, and not at the server
        self.places = asyncio.Semaphore(IN_FLIGHT if target.pace is None else target.pace.endpoint.concurrency)
        self.judging = asyncio.Lock()
        self.paused: TeacherPaused | None = None
        self.ending = False  # what is in flight is waited for, and nothing joins it
        self.yield_checked_at = time.monotonic()
        self.in_flight: dict[asyncio.Task[Answer], generate.Request] = {}
        self.results: list[generate.Result] = []
        self.failures: list[jobs.Failure] = []
        self.doubtful: list[jobs.Failure] = []  # failed in a way that a dying server explains
        self.stored_at = time.monotonic()
        self.claim_again_at = 0.0
        self.died = False
        self.alone = False  # a suspect is in flight, and nothing may join it

    async def run(self) -> None:
        """Raises LeaseLost; everything in flight is then dropped. Raises TeacherPaused for an endpoint's fault."""
        try:
            await self._refill()
            while self.in_flight:
                done, _ = await asyncio.wait(self.in_flight, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                self.lease.beat()
                self._collect(done)
                await self._check_server()
                await self._store(force=not self.in_flight)
                if self.died or self.host.stopping.is_set():
                    break
                await self._look_around()
                await self._refill()
            await self._store(force=True)
            if self.paused is not None:
                raise self.paused
        finally:
            for task in self.in_flight:
                task.cancel()
            await asyncio.gather(*self.in_flight, return_exceptions=True)
            await self.client.aclose()

    async def _refill(self) -> None:
        limit = self._limit()
        room = min(IN_FLIGHT, limit - len(self.in_flight))
        if self.ending or self.host.leaving() or (self.alone and self.in_flight):
            return
        if self.in_flight and (room < max(1, limit // 8) or time.monotonic() < self.claim_again_at):
            return  # a claim costs a round trip: let some room gather, and an empty queue fill
        requests = await asyncio.to_thread(self._claim, room)
        if len(requests) < room:
            self.claim_again_at = time.monotonic() + EMPTY_S
        for request in requests:
            self.alone = request.claim.lost_count >= jobs.ALONE_AFTER_LOSSES
            task = asyncio.create_task(self._ask(request))
            self.in_flight[task] = request
            self.unsent.add(task)

    def _limit(self) -> int:
        if self.pace is not None:
            return self.pace.limit
        if self.counts_tokens:
            return IN_FLIGHT + AHEAD
        return 1 if self.teacher.config.sampling.temperature > 0 else IN_FLIGHT_TRANSFORMERS

    async def _look_around(self) -> None:
        """Make room where another queue of this worker has waited too long, or this one was paused."""
        if self.paused is not None:
            waiting = self.unsent & self.in_flight.keys()
            for task in waiting:
                task.cancel()
                del self.in_flight[task]
            await asyncio.gather(*waiting, return_exceptions=True)
        if self.ending or time.monotonic() - self.yield_checked_at < YIELD_CHECK_S:
            return
        self.yield_checked_at = time.monotonic()
        if await asyncio.to_thread(self.host.must_yield, self.queue):
            log.info("action=yield queue=%s another queue has waited too long", self.queue)
            self.ending = True

    async def _ask(self, request: generate.Request) -> Answer:
        config = self.teacher.config
        examples = [example.model_dump() for example in config.examples]
        messages = chat.conversation(request.messages, system_prompt=config.system_prompt, examples=examples)
        refusals = 0
        sent_at = time.monotonic()
        while True:
            try:
                async with self.places:
                    await self._may_send()
                    sent_at = time.monotonic()
                    answer = await self.client.generate(messages, config.sampling, request.seed)
            except GenerationFailed as exc:
                refusals += 1
                if self.pace is None or not await self._endpoint_refused(exc, sent_at, refusals):
                    raise
            else:
                if self.pace is not None:
                    self.pace.answered(sent_at, answer.prompt_tokens + answer.completion_tokens)
                return answer

    async def _may_send(self) -> None:
        """Wait for the budget; the server of our own has none."""
        task = asyncio.current_task()
        while self.pace is not None:
            now = time.monotonic()
            wait = self.pace.budget.wait_s(now)
            if wait == 0.0:
                self.pace.budget.sent(now)
                break
            if task is not None:
                self.unsent.add(task)
            if wait > PATIENCE_S:
                self._end(TeacherPaused(f"{self.teacher.config.name}: its budget is spent for {wait:.0f} s.", wait))
            await asyncio.sleep(min(wait, 1.0))
        if task is not None:
            self.unsent.discard(task)

    async def _endpoint_refused(self, exc: GenerationFailed, sent_at: float, refusals: int) -> bool:
        """Whether to ask again: the endpoint has no room, or is at fault; then no attempt is spent."""
        assert self.pace is not None
        async with self.judging:  # what sixty requests meet at once is one fault
            paused = self.paused or await asyncio.to_thread(self.pace.failed, exc, sent_at)
        if paused is not None:
            self._end(paused)
            if not paused.spends and exc.code in ENDPOINTS_FAULT:
                await self._hand_back()
        return exc.code == "rate_limited" and refusals < REFUSALS_AT_MOST

    async def _hand_back(self) -> None:
        """Wait until the drain ends, and with it this task; its job then goes back unspent."""
        if (task := asyncio.current_task()) is not None:
            self.unsent.add(task)
        await asyncio.Event().wait()

    def _end(self, paused: TeacherPaused) -> None:
        """Take nothing more; what is at the endpoint already is waited for, the rest goes back."""
        if self.paused is None:
            self.paused, self.ending = paused, True

    def _claim(self, room: int) -> list[generate.Request]:
        with self.host.engine.begin() as conn:
            claims = jobs.claim(
                conn, self.lease.id, self.queue, room, idle=not self.in_flight, reading=self.reading,
                teacher_id=self.teacher.id,
            )  # fmt: skip
            return generate.requests(conn, claims)

    def _collect(self, done: set[asyncio.Task[Answer]]) -> None:
        self.answers += len(done)
        for task in done:
            request = self.in_flight.pop(task)
            try:
                answer = task.result()
            except GenerationFailed as exc:
                failure = jobs.Failure(request.claim.id, exc.code, str(exc), exc.permanent, exc.retry_after)
                supervised = self.target.server is not None
                (self.doubtful if supervised and exc.code in _DEATH_CODES else self.failures).append(failure)
            except Exception as exc:  # one prompt's, never its neighbours'
                self.failures += failures([request.claim.id], exc)
            else:
                self.results.append(generate.Result(request, **answer._asdict(), server_version=self.target.version))

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
                log.warning("action=server_hung pid=%s in_flight=%d", server.pid, len(self.in_flight))
                await asyncio.to_thread(server.stop)
        if self.doubtful and await self._still_works(server):
            self.failures += self.doubtful
            self.doubtful = []
        if not server.alive() or self.doubtful:
            self.died = True
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
        """Everything at the server died with it; what was answered before is kept, what was not sent goes back."""
        sent = [request for task, request in self.in_flight.items() if task not in self.unsent]
        ids = [failure.job_id for failure in self.doubtful] + [request.claim.id for request in sent]
        for task in self.in_flight:
            task.cancel()
        await asyncio.gather(*self.in_flight, return_exceptions=True)
        self.in_flight.clear()
        self.doubtful = []
        await self._store(force=True)
        if ids:
            await asyncio.to_thread(self._write_lost, ids, detail)

    def _write_lost(self, ids: Sequence[int], detail: str) -> None:
        with self.host.engine.begin() as conn:
            jobs.lose(conn, self.lease.id, ids, detail)

    async def _store(self, *, force: bool) -> None:
        waiting = len(self.results) + len(self.failures)
        overdue = time.monotonic() - self.stored_at >= STORE_AFTER_S
        if not waiting or not (force or overdue or waiting >= STORE_AFTER_ROWS):
            return
        await asyncio.to_thread(self._write)
        self.results, self.failures, self.stored_at = [], [], time.monotonic()

    def _write(self) -> None:
        with self.host.engine.begin() as conn:
            if self.results:
                generate.store(conn, self.lease.id, self.results)
            if self.failures:
                jobs.fail(conn, self.lease.id, self.failures)
        counters.answered(
            self.teacher.config.name, sum(result.prompt_tokens for result in self.results),
            sum(result.completion_tokens for result in self.results), len(self.results),
        )  # fmt: skip
        log.info(
            "action=store lease=%s queue=%s answers=%d failures=%d",
            self.lease.id, self.queue, len(self.results), len(self.failures),
        )  # fmt: skip
