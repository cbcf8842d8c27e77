"""Requests to a judge over real HTTP under a real lease: what they cost the jobs when something is in the way."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from persyn import jobs
from persyn.config import Endpoint, Judge
from persyn.errors import LeaseLost
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.rewards.quality.judge import JudgeClient
from persyn.stages import score
from workers.asking import Asker, Result
from workers.worker import Host

ITEMS = [
    score.Item(
        jobs.Claim(
            id=n,
            run_id=1,
            kind="score",
            prompt_id=None,
            teacher_id=None,
            sample_index=0,
            generation_id=n,
            scorer_id=1,
            attempt=1,
            lost_count=0,
        ),
        [{"role": "user", "content": "q"}],
        None,
        f"answer {n}",
    )
    for n in range(12)
]


@pytest.fixture
def host(engine: Engine, tmp_path: Path) -> Host:
    return Host(engine, tmp_path)


@pytest.fixture
def lease(host: Host) -> Iterator[LeaseKeeper]:
    with host.lease("score.quality") as lease:
        yield lease


def ask(host: Host, lease: LeaseKeeper, server: Any, concurrency: int = 64) -> list[Result]:
    endpoint = Endpoint(url=f"{server.url}/v1", concurrency=concurrency)

    async def judge(client: JudgeClient, item: score.Item) -> Result:
        verdict = await client.judge(item.messages, item.answer, item.reference_answer)
        return score.Value(item, verdict.value, verdict.detail)

    async def everything() -> list[Result]:
        client = JudgeClient(Judge(kind="judge", model="j", endpoint=endpoint), api_key=None)
        return await Asker(host, lease, endpoint).ask_all(client, ITEMS, judge)

    return asyncio.run(everything())


def verdict(score: int = 5) -> tuple[int, Any, dict[str, str]]:
    message = {"role": "assistant", "content": json.dumps({"reason": "r", "score": score})}
    return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {}


def test_a_short_refusal_for_want_of_room_is_sat_out(host: Host, lease: LeaseKeeper, scripted: Any) -> None:
    refusals = iter([(429, {}, {"Retry-After": "0"})] * 5)
    scripted.reply = lambda asked: next(refusals, None) or verdict()
    results = ask(host, lease, scripted)
    assert sorted(result.item.claim.id for result in results if isinstance(result, score.Value)) == list(range(12))
    assert len(scripted.asked) == 12 + 5


@pytest.mark.parametrize("concurrency", [64, 1])
def test_a_long_refusal_goes_back_to_the_jobs_with_its_wait(
    host: Host, lease: LeaseKeeper, scripted: Any, concurrency: int
) -> None:
    scripted.refuses(429, "come back", **{"Retry-After": "600"})
    results = ask(host, lease, scripted, concurrency)
    failed = [result for result in results if isinstance(result, jobs.Failure)]
    assert {(failure.code, failure.permanent) for failure in failed} == {("rate_limited", False)}
    assert all(500 < (failure.retry_after_s or 0.0) <= 600 for failure in failed)
    assert len(failed) == 12
    assert len(scripted.asked) < 12, "who has not asked yet does not ask a closed door"


def test_one_bad_reply_costs_its_own_job_alone(host: Host, lease: LeaseKeeper, scripted: Any) -> None:
    replies = {"answer 3": (400, {"error": {"message": "maximum context length"}}, {}), "answer 4": verdict(77)}

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        said = asked.body["messages"][1]["content"]
        return next((found for words, found in replies.items() if f"\n{words}\n" in said), verdict())

    scripted.reply = reply
    results = ask(host, lease, scripted)
    assert len(results) == 12
    failed = {result.job_id: result for result in results if isinstance(result, jobs.Failure)}
    assert {number: (failure.code, failure.permanent) for number, failure in failed.items()} == {
        3: ("context_too_long", True),
        4: ("garbage", False),
    }


def test_no_more_are_in_flight_than_the_endpoint_allows(host: Host, lease: LeaseKeeper, scripted: Any) -> None:
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(timeout=30)  # nobody is answered alone: two must be in flight
        with lock:
            running -= 1
        return verdict()

    scripted.reply = reply
    assert len(ask(host, lease, scripted, concurrency=2)) == 12
    assert most == 2


def test_a_lost_lease_drops_everything(host: Host, lease: LeaseKeeper, scripted: Any) -> None:
    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        lease.lost.set()
        return verdict()

    scripted.reply = reply
    with pytest.raises(LeaseLost):
        ask(host, lease, scripted)


def test_a_worker_that_must_stop_asks_nothing_more(host: Host, lease: LeaseKeeper, scripted: Any) -> None:
    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        host.stopping.set()
        return verdict()

    scripted.reply = reply
    assert len(ask(host, lease, scripted, concurrency=1)) == 1
    assert len(scripted.asked) == 1
