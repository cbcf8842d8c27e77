"""Many requests in flight to one server or endpoint, at its pace, and whose fault each failure is."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from persyn.errors import EndpointPaused, JobFailed, RequestFailed
from persyn.inference.clients.evidence import ENOUGH, Evidence
from persyn.inference.clients.pace import (
    MAY_BE_DOWN,
    MAY_BE_GONE,
    NEEDS_A_PERSON,
    NO_ANSWER,
    PATIENCE_S,
    REFUSED_S,
    Pace,
)
from persyn.waits import bounded

REFUSALS_AT_MOST = 20
TICK_S = 1.0
# A failure waits for another request to show whose fault it is: for so long where none is on its way.
ALONE_S = 2.5
_LOOK_S = 0.1

T = TypeVar("T")
Item = TypeVar("Item")
Control = Callable[[], Awaitable[Any]]


class PacedRequests:
    """The requests of one batch or drain: each waits for its turn, and a refusal for want of room is sat out.

    `sent`: the tasks whose request has left and is not settled. `paused`: why the endpoint is not to be asked for now.
    """

    def __init__(self, places: int, pace: Pace | None, *, control: Control) -> None:
        """`places`: requests at the server at once. `pace` None: the worker's own server, which has no other limit.

        `control` sends a harmless request of the same form, where no other shows whose fault a failure is.
        """
        self.pace = pace
        self.sent: set[asyncio.Task[Any] | None] = set()
        self.paused: EndpointPaused | None = None
        self._evidence = Evidence() if pace is None else pace.evidence
        self._places = asyncio.Semaphore(places)
        self._control = control
        self._judging = asyncio.Lock()
        self._asking = 0
        self._suspects = 0  # failures that wait for evidence

    @property
    def room_for_witnesses(self) -> int:
        """The number that may be in flight beyond the pace, as so many failed and wait for others' answers."""
        return min(self._suspects, ENOUGH)

    async def ask(self, send: Callable[[], Awaitable[T]], tokens: Callable[[T], int]) -> T:
        """The answer of `send`, called once its turn has come; `tokens` counts what an answer took.

        Raises EndpointPaused where the endpoint is not to be asked for now, RequestFailed for any other failure.
        """
        task = asyncio.current_task()
        self._asking += 1
        try:
            for refusals in itertools.count(1):
                try:
                    async with self._places:
                        sent_at = await self._turn()
                        self.sent.add(task)
                        answer = await send()
                except RequestFailed as exc:
                    self.sent.discard(task)
                    failure = await self._judge(exc, sent_at)
                    if self.pace is None or exc.code != "rate_limited" or refusals == REFUSALS_AT_MOST:
                        raise failure from exc
                else:
                    self._answered(sent_at, tokens(answer))
                    return answer
        finally:
            self._asking -= 1
            self.sent.discard(task)
        raise AssertionError("the last refusal is raised above")

    def _answered(self, sent_at: float, tokens: int) -> None:
        if self.pace is None:
            self._evidence.answered(sent_at)
        else:
            self.pace.answered(sent_at, tokens)

    async def _turn(self) -> float:
        """Wait for the rate limits; returns the time of sending. Raises EndpointPaused where the wait is too long."""
        if self.pace is None:
            return time.monotonic()
        while (wait := self.pace.rate_limit.wait_s(now := time.monotonic())) > 0.0:
            if wait > PATIENCE_S:
                message = f"{self.pace.endpoint.url} allows no request for {wait:.0f} s."
                self.paused = self.paused or EndpointPaused(message, bounded(wait))
                raise self.paused
            await asyncio.sleep(min(wait, TICK_S))
        self.pace.rate_limit.sent(now)
        return now

    async def _judge(self, exc: RequestFailed, sent_at: float) -> RequestFailed:
        """The failure that is the prompt's own. Raises EndpointPaused where it is the endpoint's."""
        if exc.code == "rate_limited":
            if self.pace is not None:
                self._hold_back(self.pace.slow_down(exc, sent_at))
                if self.paused is not None:
                    raise self.paused from exc
            return exc
        if self.pace is not None and exc.code in MAY_BE_DOWN:
            await self._look_whether_it_is_there(self.pace, exc, sent_at)
        elif exc.code != "bad_request" and (self.pace is None or exc.code not in NEEDS_A_PERSON):
            return exc
        if not await self._cleared(exc.code, sent_at):
            self._hold_back(self.paused or self._verdict(exc))
            assert self.paused is not None
            raise self.paused from exc
        permanent = exc.permanent and exc.code == "bad_request"  # another refusal of one prompt may be a whim
        return RequestFailed(exc.code, str(exc), permanent=permanent, retry_after_s=exc.retry_after_s)

    async def _look_whether_it_is_there(self, pace: Pace, exc: RequestFailed, sent_at: float) -> None:
        pace.met_trouble(exc, sent_at)
        if exc.code not in MAY_BE_GONE or self._evidence.clears(exc.code, sent_at):
            return
        async with self._judging:  # what sixty requests meet at once is one fault
            if self.paused is None and not await asyncio.to_thread(pace.is_there):
                self._hold_back(pace.held_back(exc, there=False))

    def _hold_back(self, pause: EndpointPaused | None) -> None:
        self.paused = self.paused or pause

    def _verdict(self, exc: RequestFailed) -> EndpointPaused:
        if self.pace is not None:
            return self.pace.held_back(exc, there=True)
        return EndpointPaused(f"{exc} {NO_ANSWER}", REFUSED_S)

    async def _cleared(self, code: str, sent_at: float) -> bool:
        """Whether other requests show that the endpoint is well; this waits until they can tell."""
        self._suspects += 1
        alone_since: float | None = None
        try:
            while self.paused is None:
                if self._evidence.clears(code, sent_at):
                    return True
                if self._asking > self._suspects:
                    alone_since = None
                elif alone_since is None:
                    alone_since = time.monotonic()
                elif time.monotonic() - alone_since >= ALONE_S:
                    return await self._cleared_by_control(code, sent_at)
                await asyncio.sleep(_LOOK_S)
            return False
        finally:
            self._suspects -= 1

    async def _cleared_by_control(self, code: str, sent_at: float) -> bool:
        """The same where nobody else is left to ask: a harmless request tells, one for all that wait beside it."""
        async with self._judging:
            if self.paused is None and not self._evidence.clears(code, sent_at):
                asked_at = await self._turn()
                with suppress(JobFailed):
                    await self._control()
                    self._evidence.answered(asked_at)
        return self._evidence.clears(code, sent_at)


async def ask_all(
    pace: Pace,
    items: Sequence[Item],
    ask: Callable[[PacedRequests, Item], Coroutine[Any, Any, T]],
    *,
    control: Control,
    on_tick: Callable[[], None],
    stopping: Callable[[], bool],
) -> list[tuple[Item, T | Exception]]:
    """Each item with its result, or with the exception that `ask` raised.

    An item with EndpointPaused was not asked, or not to its own account: the endpoint is to be left alone. Once
    `stopping` says so, what has not come in is left out. `control`: as in PacedRequests. `on_tick` is called about once
    a second; an exception that it raises drops everything.
    """
    requests = PacedRequests(pace.endpoint.concurrency, pace, control=control)
    results: list[tuple[Item, T | Exception]] = []
    left = list(reversed(items))
    in_flight: dict[asyncio.Task[T], Item] = {}
    try:
        while (left or in_flight) and not stopping():
            while left and requests.paused is None and len(in_flight) < pace.limit + requests.room_for_witnesses:
                item = left.pop()
                in_flight[asyncio.create_task(ask(requests, item))] = item
            if requests.paused is not None:
                results += [(item, requests.paused) for item in left]
                left = []
            if in_flight:
                done, _ = await asyncio.wait(in_flight, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
                results += [(in_flight.pop(task), _outcome(task)) for task in done]
            on_tick()  # each request has a time limit of its own, so waiting for them is progress
    finally:
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
    return results


def _outcome(task: "asyncio.Task[T]") -> T | Exception:
    try:
        return task.result()
    except Exception as exc:  # one item's, never its neighbours'
        return exc
