"""Requests at a pace: a refusal is sat out, an endpoint's fault is a pause, and a prompt's fault is its own."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from persyn.config import Endpoint
from persyn.errors import EndpointPaused, RequestFailed
from persyn.inference.clients import batch
from persyn.inference.clients.batch import REFUSALS_AT_MOST, PacedRequests, ask_all
from persyn.inference.clients.pace import PATIENCE_S, Pace


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else comes: no need to wait long for it."""
    monkeypatch.setattr(batch, "ALONE_S", 0.2)


NOWHERE = "http://127.0.0.1:9/v1"  # the discard port: a probe finds nobody


def refusal(code: str, retry_after_s: float | None = None) -> RequestFailed:
    return RequestFailed(code, "no", permanent=False, retry_after_s=retry_after_s)


def sends(*outcomes: Any) -> Callable[[], Any]:
    """A request that gives one outcome after the other, the last one for ever."""
    left = list(outcomes)

    async def send() -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return send


def ask(requests: PacedRequests, send: Callable[[], Any]) -> Any:
    return asyncio.run(requests.ask(send, lambda _: 1))


async def well() -> None:
    """A harmless request that is answered."""


def paced(control: Callable[[], Any] = well, **limits: Any) -> PacedRequests:
    return PacedRequests(8, Pace(Endpoint(url=NOWHERE, **limits)), control=control)


def test_a_server_of_ones_own_has_no_pace_and_its_failures_are_raised() -> None:
    requests = PacedRequests(8, None, control=well)
    assert ask(requests, sends("text")) == "text"
    with pytest.raises(RequestFailed):
        ask(requests, sends(refusal("rate_limited"), "text"))
    assert requests.sent == set()


def test_a_short_refusal_for_want_of_room_is_sat_out() -> None:
    assert ask(paced(), sends(refusal("rate_limited", 0.0), refusal("rate_limited", 0.0), "text")) == "text"


def test_endless_refusals_are_raised_at_last() -> None:
    asked = 0

    async def send() -> None:
        nonlocal asked
        asked += 1
        raise refusal("rate_limited", 0.0)

    with pytest.raises(RequestFailed):
        ask(paced(), send)
    assert asked == REFUSALS_AT_MOST


def test_a_wait_too_long_to_be_sat_out_pauses_and_costs_the_job_nothing() -> None:
    requests = paced()
    with pytest.raises(EndpointPaused) as caught:
        ask(requests, sends(refusal("rate_limited", PATIENCE_S + 60)))
    assert requests.paused is caught.value
    assert PATIENCE_S < caught.value.seconds <= PATIENCE_S + 60
    with pytest.raises(EndpointPaused):  # a later request does not even leave
        ask(requests, sends(AssertionError("it was sent")))


@pytest.mark.parametrize("code", ["refused_auth", "model_not_found", "connection", "server_error", "bad_request"])
def test_an_endpoints_fault_pauses(code: str, few: None) -> None:
    requests = paced(control=sends(refusal(code)))
    with pytest.raises(EndpointPaused):
        ask(requests, sends(refusal(code)))
    assert requests.paused is not None


@pytest.mark.parametrize("code", ["context_too_long", "bad_request", "refused_auth", "garbage"])
def test_a_prompts_fault_is_its_own(code: str, few: None) -> None:
    requests = paced()
    with pytest.raises(RequestFailed):
        ask(requests, sends(refusal(code)))
    assert requests.paused is None


def test_a_request_counts_as_sent_from_its_sending_to_its_end() -> None:
    async def look() -> list[int]:
        requests, gate = PacedRequests(1, None, control=well), asyncio.Event()
        tasks = [asyncio.create_task(requests.ask(gate.wait, lambda _: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        seen = [len(requests.sent)]  # one place, two wait for it
        gate.set()
        await asyncio.gather(*tasks)
        return [*seen, len(requests.sent)]

    assert asyncio.run(look()) == [1, 0]


def test_one_items_failure_leaves_the_others_alone_and_a_pause_is_told_of_all_that_are_left() -> None:
    pace = Pace(Endpoint(url=NOWHERE, concurrency=1))
    outcomes = {"good": "text", "bad": KeyError("x"), "full": refusal("rate_limited", 600.0), "late": "text"}

    async def one(requests: PacedRequests, item: str) -> Any:
        return await requests.ask(sends(outcomes[item]), lambda _: 1)

    results = dict(
        asyncio.run(ask_all(pace, list(outcomes), one, control=well, on_tick=lambda: None, stopping=lambda: False))
    )
    assert results["good"] == "text"
    assert isinstance(results["bad"], KeyError)
    for item in ("full", "late"):
        paused = results[item]
        assert isinstance(paused, EndpointPaused)
        assert paused.seconds > 500


class Endless:
    """A teacher's queue: `answers(n)` gives the outcome of its nth request, and as many are asked as may be at once."""

    def __init__(self, answers: Callable[[int], Any], *, prompts: int, control: Any = None, **limits: Any) -> None:
        """`control`: what a harmless request gives; None: what the first one gave."""
        self.asked, self.controls, self._answers, self._prompts = 0, 0, answers, prompts
        self.requests = PacedRequests(64, Pace(Endpoint(url=NOWHERE, **limits)), control=self._control)
        self._control_says = control

    async def _control(self) -> Any:
        self.controls += 1
        said = self._answers(0) if self._control_says is None else self._control_says
        if isinstance(said, Exception):
            raise said
        return said

    def outcomes(self) -> list[str]:
        """Each prompt's end: its answer, the code that it failed with, `paused`, or `not asked`."""

        async def one(number: int) -> str:
            async def send() -> Any:
                self.asked += 1
                await asyncio.sleep(0.01)
                outcome = self._answers(number)
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            try:
                return str(await self.requests.ask(send, lambda _: 1))
            except EndpointPaused:
                return "paused"
            except RequestFailed as exc:
                return exc.code + ("!" if exc.permanent else "")

        async def all_of_them() -> list[str]:
            tasks: list[asyncio.Task[str]] = []
            while len(tasks) < self._prompts and self.requests.paused is None:
                flying = sum(not task.done() for task in tasks)
                assert self.requests.pace is not None
                if flying < self.requests.pace.limit + self.requests.room_for_witnesses:
                    tasks.append(asyncio.create_task(one(len(tasks))))
                await asyncio.sleep(0.001)
            return [*await asyncio.gather(*tasks), *["not asked"] * (self._prompts - len(tasks))]

        return asyncio.run(all_of_them())


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("code", ["refused_auth", "model_not_found", "out_of_credit"])
@pytest.mark.parametrize("flagged", [0, 20])
def test_what_one_prompt_provokes_costs_that_prompt_alone(concurrency: int, code: str, flagged: int) -> None:
    answers = lambda number: RequestFailed(code, "no", permanent=True) if number == flagged else "text"  # noqa: E731
    queue = Endless(answers, prompts=41, concurrency=concurrency)
    assert queue.outcomes() == ["text"] * flagged + [code] + ["text"] * (40 - flagged)
    assert (queue.asked, queue.requests.paused) == (41, None)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_what_every_prompt_meets_is_the_endpoints_fault_and_costs_none(concurrency: int) -> None:
    queue = Endless(lambda _: RequestFailed("refused_auth", "no", permanent=True), prompts=41, concurrency=concurrency)
    assert set(queue.outcomes()) == {"paused", "not asked"}
    assert queue.asked <= 8 + 4
    assert queue.requests.paused is not None
    assert "no prompt is at fault" in str(queue.requests.paused)


def test_a_key_that_is_refused_in_the_middle_costs_no_prompt_that_was_sent_after_it() -> None:
    no = refusal("refused_auth")
    queue = Endless(lambda number: "text" if number < 20 else no, prompts=60, control=no, concurrency=1)
    assert queue.outcomes()[:21] == ["text"] * 20 + ["paused"]


@pytest.mark.parametrize("prompts", [1, 4, 60])
def test_bad_requests_and_nothing_else_hold_the_queue_and_kill_no_job(prompts: int, few: None) -> None:
    refused = Endless(lambda _: RequestFailed("bad_request", "no", permanent=True), prompts=prompts)
    assert set(refused.outcomes()) <= {"paused", "not asked"}
    assert refused.asked <= min(prompts, 8 + 3)
    assert refused.controls == 1


def test_bad_requests_beside_answers_are_their_prompts_fault(few: None) -> None:
    mixed = Endless(lambda n: RequestFailed("bad_request", "no", permanent=True) if n % 3 else "text", prompts=60)
    assert mixed.outcomes() == ["text", "bad_request!", "bad_request!"] * 20


@pytest.mark.parametrize("prompts", [1, 5])
@pytest.mark.parametrize("code", ["refused_auth", "bad_request"])
def test_where_nobody_else_is_left_a_harmless_request_tells_whose_fault_it_was(
    prompts: int, code: str, few: None
) -> None:
    flagged = Endless(lambda _: refusal(code), prompts=prompts, control="yes")
    assert flagged.outcomes() == [code] * prompts
    assert flagged.controls == 1
    keyless = Endless(lambda _: refusal(code), prompts=prompts, control=refusal(code))
    assert set(keyless.outcomes()) == {"paused"}


def test_a_pause_that_somebody_lifted_is_forgotten_and_one_that_ended_was_over_anyway() -> None:
    pace = Pace(Endpoint(url=NOWHERE))
    assert pace.slow_down(refusal("rate_limited", 1e300), 0.0) is not None
    assert 3500 < pace.rate_limit.wait_s(time.monotonic()) <= 3600
    pace.opened()
    assert pace.rate_limit.wait_s(time.monotonic()) == 0.0
    assert pace.slow_down(refusal("rate_limited", 20.0), 0.0) is None
    pace.opened()
    assert pace.rate_limit.wait_s(time.monotonic()) > 10.0, "a wait that is sat out was no pause"
