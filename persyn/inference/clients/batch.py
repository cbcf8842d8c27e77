"""Many requests in flight to one server or endpoint, at its pace."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from persyn.errors import EndpointPaused, RequestFailed
from persyn.inference.clients.pace import ENDPOINTS_FAULT, PATIENCE_S, Pace

REFUSALS_AT_MOST = 20
TICK_S = 1.0

T = TypeVar("T")
Item = TypeVar("Item")


class PacedRequests:
    """The requests of one batch or drain: each waits for its turn, and a refusal for want of room is sat out.

    `sent`: the tasks whose request has left and is not settled. `paused`: why the endpoint is not to be asked for now.
    """

    def __init__(self, places: int, pace: Pace | None, *, judged_by: frozenset[str] = ENDPOINTS_FAULT) -> None:
        """`places`: requests at the server at once. `pace` None: the worker's own server, which has no other limit.

        `judged_by`: the codes that may be the endpoint's fault.
        """
        self.pace = pace
        self.sent: set[asyncio.Task[Any] | None] = set()
        self.paused: EndpointPaused | None = None
        self._places = asyncio.Semaphore(places)
        self._judged_by = judged_by
        self._judging = asyncio.Lock()

    async def ask(self, send: Callable[[], Awaitable[T]], tokens: Callable[[T], int]) -> T:
        """The answer of `send`, called once its turn has come; `tokens` counts what an answer took.

        Raises EndpointPaused where the endpoint is not to be asked for now, RequestFailed for any other failure.
        """
        task = asyncio.current_task()
        try:
            for refusals in itertools.count(1):
                try:
                    async with self._places:
                        sent_at = await self._turn()
                        self.sent.add(task)
                        answer = await send()
                except RequestFailed as exc:
                    await self._judge(exc, sent_at)
                    if self.pace is None or exc.code != "rate_limited" or refusals == REFUSALS_AT_MOST:
                        raise
                    self.sent.discard(task)
                else:
                    if self.pace is not None:
                        self.pace.answered(sent_at, tokens(answer))
                    return answer
        finally:
            self.sent.discard(task)
        raise AssertionError("the last refusal is raised above")

    async def _turn(self) -> float:
        """Wait for the rate limits; returns the time of sending. Raises EndpointPaused where the wait is too long."""
        if self.pace is None:
            return time.monotonic()
        while (wait := self.pace.rate_limit.wait_s(now := time.monotonic())) > 0.0:
            if wait > PATIENCE_S:
                message = f"{self.pace.endpoint.url} allows no request for {wait:.0f} s."
                self.paused = self.paused or EndpointPaused(message, wait)
                raise self.paused
            await asyncio.sleep(min(wait, TICK_S))
        self.pace.rate_limit.sent(now)
        return now

    async def _judge(self, exc: RequestFailed, sent_at: float) -> None:
        """Raises EndpointPaused where the failure is the endpoint's fault alone."""
        if self.pace is None or exc.code not in self._judged_by:
            return
        async with self._judging:  # what sixty requests meet at once is one fault
            self.paused = self.paused or await asyncio.to_thread(self.pace.failed, exc, sent_at)
        if self.paused is not None and not self.paused.spends:
            raise self.paused from exc


async def ask_all(
    pace: Pace,
    items: Sequence[Item],
    ask: Callable[[PacedRequests, Item], Coroutine[Any, Any, T]],
    *,
    on_tick: Callable[[], None],
    stopping: Callable[[], bool],
) -> list[tuple[Item, T | Exception]]:
    """Each item with its result, or with the exception that `ask` raised.

    Once `stopping` says so, what has not come in is left out. `on_tick` is called about once a second; an exception
    that it raises drops everything. A long refusal for want of room pauses no queue: its item gets the wait.
    """
    requests = PacedRequests(pace.endpoint.concurrency, pace, judged_by=frozenset({"rate_limited"}))
    results: list[tuple[Item, T | Exception]] = []
    left = list(reversed(items))
    in_flight: dict[asyncio.Task[T], Item] = {}
    try:
        while (left or in_flight) and not stopping():
            while left and len(in_flight) < pace.limit:
                item = left.pop()
                in_flight[asyncio.create_task(ask(requests, item))] = item
            done, _ = await asyncio.wait(in_flight, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            on_tick()  # each request has a time limit of its own, so waiting for them is progress
            results += [(in_flight.pop(task), _outcome(task)) for task in done]
    finally:
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
    return results


def _outcome(task: "asyncio.Task[T]") -> T | Exception:
    try:
        return task.result()
    except EndpointPaused as exc:
        return RequestFailed("rate_limited", str(exc), permanent=False, retry_after_s=exc.seconds)
    except Exception as exc:  # one item's, never its neighbours'
        return exc
