"""Requests to a judge over real HTTP under a real lease: what they cost the jobs when something is in the way."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from persyn import jobs
from persyn.chat import Answered
from persyn.config import Endpoint, Judge
from persyn.errors import EndpointPaused, JobFailed, LeaseLost
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.stages import score, scorers
from persyn.versions import ScorerVersion
from persyn.workers.worker import Worker

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
        None,
        Answered([{"role": "user", "content": "q"}], f"answer {n}"),
    )
    for n in range(12)
]


@pytest.fixture
def worker(engine: Engine, tmp_path: Path) -> Worker:
    return Worker(engine, tmp_path)


@pytest.fixture
def lease(worker: Worker) -> Iterator[LeaseKeeper]:
    with worker.lease("score.quality") as lease:
        yield lease


def ask(
    worker: Worker, lease: LeaseKeeper, server: Any, concurrency: int = 64, items: list[score.Item] = ITEMS
) -> list[scorers.Outcome]:
    config = Judge(kind="judge", model="j", endpoint=Endpoint(url=f"{server.url}/v1", concurrency=concurrency))
    context = scorers.ScorerContext(worker.path_of, lease, worker.warm, worker.stopping, worker.paces)
    score_batch = scorers.build([ScorerVersion(1, "quality", "judge", None, None, None, None, config)], context)
    return list(score_batch(items))


def refused(outcomes: list[scorers.Outcome]) -> dict[int, JobFailed]:
    """The failures by job."""
    failed = {one.item.claim.id: one.error for one in outcomes if isinstance(one, score.Unscored)}
    return {number: error for number, error in failed.items() if isinstance(error, JobFailed)}


def is_harmless(asked: Any) -> bool:
    return "\nYes.\n" in asked.body["messages"][1]["content"]


def verdict(given: int = 5) -> tuple[int, Any, dict[str, str]]:
    message = {"role": "assistant", "content": json.dumps({"reason": "r", "score": given})}
    return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {}


def test_a_short_refusal_for_want_of_room_is_sat_out(worker: Worker, lease: LeaseKeeper, scripted: Any) -> None:
    refusals = iter([(429, {}, {"Retry-After": "0"})] * 5)
    scripted.reply = lambda asked: next(refusals, None) or verdict()
    outcomes = ask(worker, lease, scripted)
    assert sorted(one.item.claim.id for one in outcomes if isinstance(one, score.Scored)) == list(range(12))
    assert len(scripted.asked) == 12 + 5


@pytest.mark.parametrize("concurrency", [64, 1])
@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "600"}), (401, {}), (503, {"Retry-After": "1e300"})], ids=str
)
def test_an_endpoints_fault_is_told_of_every_item_and_is_no_items_own(
    worker: Worker, lease: LeaseKeeper, scripted: Any, concurrency: int, status: int, headers: dict[str, str]
) -> None:
    scripted.refuses(status, "come back", **headers)
    outcomes = ask(worker, lease, scripted, concurrency)
    errors = [one.error for one in outcomes if isinstance(one, score.Unscored)]
    assert len(errors) == 12
    assert all(isinstance(error, EndpointPaused) and 0 < error.seconds <= 3600 for error in errors)
    of_items = [asked for asked in scripted.asked if not is_harmless(asked)]
    assert len(of_items) < 12, "who has not asked yet does not ask a closed door"


def test_one_bad_reply_costs_its_own_job_alone(worker: Worker, lease: LeaseKeeper, scripted: Any) -> None:
    replies = {"answer 3": (400, {"error": {"message": "maximum context length"}}, {}), "answer 4": verdict(77)}

    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        said = asked.body["messages"][1]["content"]
        return next((found for words, found in replies.items() if f"\n{words}\n" in said), verdict())

    scripted.reply = reply
    outcomes = ask(worker, lease, scripted)
    assert len(outcomes) == 12
    assert {number: (error.code, error.permanent) for number, error in refused(outcomes).items()} == {
        3: ("context_too_long", True),
        4: ("garbage", False),
    }


def test_a_judge_that_refuses_even_a_harmless_request_is_held_and_kills_no_job(
    worker: Worker, lease: LeaseKeeper, scripted: Any
) -> None:
    scripted.refuses(400, "Unsupported parameter")
    outcomes = ask(worker, lease, scripted, items=ITEMS[:3])
    errors = [str(one.error) for one in outcomes if isinstance(one, score.Unscored)]
    assert len(errors) == 3
    assert refused(outcomes) == {}
    assert all("Unsupported parameter" in error and "no prompt is at fault" in error for error in errors)
    assert is_harmless(scripted.asked[-1])


def test_the_only_answer_left_is_at_fault_where_the_judge_judges_a_harmless_one(
    worker: Worker, lease: LeaseKeeper, scripted: Any
) -> None:
    scripted.reply = lambda asked: verdict() if is_harmless(asked) else verdict(77)
    outcomes = ask(worker, lease, scripted, items=ITEMS[:1])
    assert {number: error.code for number, error in refused(outcomes).items()} == {0: "garbage"}


def test_no_more_are_in_flight_than_the_endpoint_allows(worker: Worker, lease: LeaseKeeper, scripted: Any) -> None:
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
    assert len(ask(worker, lease, scripted, concurrency=2)) == 12
    assert most == 2


def test_a_lost_lease_drops_everything(worker: Worker, lease: LeaseKeeper, scripted: Any) -> None:
    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        lease.lost.set()
        return verdict()

    scripted.reply = reply
    with pytest.raises(LeaseLost):
        ask(worker, lease, scripted)


def test_a_worker_that_must_stop_asks_nothing_more(worker: Worker, lease: LeaseKeeper, scripted: Any) -> None:
    def reply(asked: Any) -> tuple[int, Any, dict[str, str]]:
        worker.stopping.set()
        return verdict()

    scripted.reply = reply
    assert len(ask(worker, lease, scripted, concurrency=1)) == 1
    assert len(scripted.asked) == 1
