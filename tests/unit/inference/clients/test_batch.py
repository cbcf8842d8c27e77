"""Requests at a pace: a refusal is sat out, an endpoint's fault is a pause, and a prompt's fault is its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from persyn.config import Endpoint
from persyn.errors import EndpointPaused, RequestFailed
from persyn.inference.clients.batch import REFUSALS_AT_MOST, PacedRequests, ask_all
from persyn.inference.clients.pace import PATIENCE_S, Pace

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


def paced(**limits: Any) -> PacedRequests:
    return PacedRequests(8, Pace(Endpoint(url=NOWHERE, **limits)))


def test_a_server_of_ones_own_has_no_pace_and_its_failures_are_raised() -> None:
    requests = PacedRequests(8, None)
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


@pytest.mark.parametrize("code", ["refused_auth", "model_not_found", "connection", "server_error"])
def test_an_endpoints_fault_pauses(code: str) -> None:
    requests = paced()
    with pytest.raises(EndpointPaused):
        ask(requests, sends(refusal(code)))
    assert requests.paused is not None


@pytest.mark.parametrize("code", ["context_too_long", "bad_request"])
def test_a_prompts_fault_is_its_own(code: str) -> None:
    requests = paced()
    with pytest.raises(RequestFailed):
        ask(requests, sends(refusal(code)))
    assert requests.paused is None


def test_a_request_counts_as_sent_from_its_sending_to_its_end() -> None:
    async def look() -> list[int]:
        requests, gate = PacedRequests(1, None), asyncio.Event()
        tasks = [asyncio.create_task(requests.ask(gate.wait, lambda _: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        seen = [len(requests.sent)]  # one place, two wait for it
        gate.set()
        await asyncio.gather(*tasks)
        return [*seen, len(requests.sent)]

    assert asyncio.run(look()) == [1, 0]


def test_one_items_failure_leaves_the_others_alone_and_a_pause_becomes_its_wait() -> None:
    pace = Pace(Endpoint(url=NOWHERE, concurrency=1))
    outcomes = {"good": "text", "bad": KeyError("x"), "full": refusal("rate_limited", 600.0), "late": "text"}

    async def one(requests: PacedRequests, item: str) -> Any:
        return await requests.ask(sends(outcomes[item]), lambda _: 1)

    results = dict(asyncio.run(ask_all(pace, list(outcomes), one, on_tick=lambda: None, stopping=lambda: False)))
    assert results["good"] == "text"
    assert isinstance(results["bad"], KeyError)
    for item in ("full", "late"):
        failed = results[item]
        assert isinstance(failed, RequestFailed)
        assert (failed.code, failed.permanent) == ("rate_limited", False)
        assert (failed.retry_after_s or 0.0) > 500
