"""Many requests in flight to an endpoint that gives quality, at the pace that it allows."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from persyn import jobs
from persyn.config import Endpoint
from persyn.errors import GenerationFailed
from persyn.inference.clients.pace import REFUSALS_AT_MOST, Pace
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import score
from workers.failures import failures
from workers.worker import Host

TICK_S = 1.0

Result = score.Value | jobs.Failure


class Client(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=Client)
Ask = Callable[[C, score.Item], Coroutine[Any, Any, Result]]


class Asker:
    """Asks one endpoint, batch after batch; what it learned of the endpoint's limits holds for the next batch too."""

    def __init__(self, host: Host, lease: LeaseKeeper, endpoint: Endpoint) -> None:
        self.host, self.lease = host, lease
        self.pace = Pace(endpoint)
        self._closed: GenerationFailed | None = None  # the endpoint asked for a wait too long to be sat out

    async def ask_all(self, client: C, items: Sequence[score.Item], ask: Ask[C]) -> list[Result]:
        """A result for each item; a worker that must stop at once leaves out what has not come in. Closes the client.

        Raises LeaseLost.
        """
        results: list[Result] = []
        left = list(reversed(items))
        in_flight: dict[asyncio.Task[Result], score.Item] = {}
        try:
            while (left or in_flight) and not self.host.stopping.is_set():
                while left and len(in_flight) < self.pace.limit:
                    item = left.pop()
                    in_flight[asyncio.create_task(self._ask(client, item, ask))] = item
                done, _ = await asyncio.wait(in_flight, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
                self.lease.beat()  # each request has a time limit of its own, so waiting for them is moving
                results += [_outcome(task, in_flight.pop(task)) for task in done]
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
            await client.aclose()
        return results

    async def _ask(self, client: C, item: score.Item, ask: Ask[C]) -> Result:
        """A short refusal for want of room is sat out, and is no job's failure."""
        for refusals in range(1, REFUSALS_AT_MOST + 1):
            sent_at = await self._may_send()
            try:
                result = await ask(client, item)
            except GenerationFailed as exc:
                # What else may be wrong with an endpoint pauses nobody: the queue is every scorer's.
                if exc.code != "rate_limited":
                    raise
                if self.pace.failed(exc, sent_at) is not None:
                    self._closed = exc
                if self._closed or refusals == REFUSALS_AT_MOST:
                    raise
            else:
                self.pace.answered(sent_at, _tokens(result))
                return result
        raise AssertionError("the last refusal is raised above")

    async def _may_send(self) -> float:
        """Wait for the budgets. Raises GenerationFailed where the endpoint is closed for long."""
        while (wait := self.pace.budget.wait_s(now := time.monotonic())) > 0.0:
            if self._closed is not None:
                raise GenerationFailed(self._closed.code, str(self._closed), permanent=False, retry_after=wait)
            await asyncio.sleep(min(wait, TICK_S))
        self._closed = None
        self.pace.budget.sent(now)
        return now


def _tokens(result: Result) -> int:
    detail = result.detail if isinstance(result, score.Value) else {}
    return sum(detail.get(name, 0) for name in ("tokens", "prompt_tokens", "completion_tokens"))


def _outcome(task: "asyncio.Task[Result]", item: score.Item) -> Result:
    try:
        return task.result()
    except GenerationFailed as exc:
        return jobs.Failure(item.claim.id, exc.code, str(exc), exc.permanent, exc.retry_after)
    except Exception as exc:  # one answer's, never its neighbours'
        return failures([item.claim.id], exc)[0]
