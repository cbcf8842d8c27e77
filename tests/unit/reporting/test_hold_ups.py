"""Why jobs wait, in a sentence for each reason."""

from datetime import UTC, datetime, timedelta

import pytest

from persyn.jobs.pauses import Pause
from persyn.jobs.workers import Worker, WorkerState
from persyn.reporting.hold_ups import UNSERVED_AFTER_S, Waiting, hold_ups

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD = UNSERVED_AFTER_S + 1


def worker(
    *queues: str, drains: str | None = None, state: WorkerState | None = None, up_s: float = OLD, unfit: str = ""
) -> Worker:
    shown = state or (WorkerState.WORKING if drains else WorkerState.IDLE)
    began = NOW - timedelta(seconds=up_s)
    lacks = [{"queue": unfit, "reason": "KEY is not set.", "again_at": "2026-01-02T03:05:00+00:00"}] if unfit else []
    return Worker(
        name="h:1", host="h", pid=1, state=shown, queues=list(queues), queue=drains, teacher=None, model=None,
        tokens_per_s=None, lease_id=None, leased_jobs=0, heartbeat_at=None, started_at=began, seen_at=NOW,
        stopped_at=None, drain_requested_at=None, unfit=lacks,
    )  # fmt: skip


def pause(queue: str | None = None, run: str | None = None) -> Pause:
    return Pause(queue, 1 if run else None, run, "the key is refused", "h:1", NOW, None)


def waiting(leased: tuple[str, ...] = (), oldest_s: float | None = OLD) -> Waiting:
    return Waiting({"teacher.cat": 100}, leased, {} if oldest_s is None else {"teacher.cat": oldest_s})


ALL = [worker("teacher.cat", "teacher.ann")]

CASES = [
    (waiting(), [], ALL, []),  # somebody will come
    (Waiting({}, (), {}), [], [], []),  # nothing waits
    (waiting(), [], [], ["100 jobs wait, and no worker runs"]),
    (waiting(), [], [worker("teacher.cat", state=WorkerState.GONE)], ["100 jobs wait, and no worker runs"]),
    (waiting(), [], [worker("teacher.ctt", "router")],
     ["teacher.cat: 100 jobs wait, and no worker serves this queue (served: router, teacher.ctt)."]),
    (waiting(), [], [worker("teacher.ctt", up_s=1.0)], []),  # it has just started
    (waiting(oldest_s=1.0), [], [worker("teacher.ctt")], []),  # a worker for everything may be about to listen
    (waiting(), [], [worker("teacher.cat", "teacher.ann", drains="teacher.ann")],
     ["teacher.cat: 100 jobs wait: h:1 works on teacher.ann first."]),
    (waiting(), [], [worker("teacher.cat", drains="teacher.ann, teacher.cat")], []),
    (waiting(), [], [worker("teacher.cat", unfit="teacher.cat")],
     ["teacher.cat: 100 jobs wait, and no worker can serve this queue. h:1: KEY is not set."]),
    (waiting(leased=("teacher.cat",)), [], [worker("teacher.ann", drains="teacher.ann")], []),  # it is worked on
    (waiting(leased=("router",)), [], [worker("teacher.cat", "router", drains="router")], []),  # its own work goes on
    (waiting()._replace(ahead={"teacher.cat": "older"}), [], ALL,
     ["teacher.cat: 100 jobs wait: run older goes first there."]),
    (waiting(leased=("teacher.cat",))._replace(ahead={"teacher.cat": "older"}), [], ALL, []),  # both have their turns
    (waiting(oldest_s=None), [], ALL, ["teacher.cat: 100 jobs wait for another attempt"]),
    (waiting(), [pause("teacher.cat")], ALL,
     ["teacher.cat: 100 jobs wait: teacher.cat is paused by h:1 since 2026-01-02 03:04:05 UTC: the key is refused"]),
    (waiting(), [pause("teacher.cat")._replace(scorer="judge j", is_whole=False)], ALL,
     ["teacher.cat (judge j) is paused by h:1"]),
    (waiting(oldest_s=None), [pause("teacher.cat")._replace(is_whole=False)], ALL,
     ["teacher.cat: 100 jobs wait: teacher.cat is paused by h:1"]),
    (waiting(), [pause("teacher.ann")], ALL, []),  # a pause of what nothing waits for
    (waiting(), [pause(run="shop")], ALL, ["run shop is paused by h:1"]),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "held", "known", "told"), CASES)
def test_a_reason_is_a_sentence_with_its_queue_and_its_number(
    jobs: Waiting, held: list[Pause], known: list[Worker], told: list[str]
) -> None:
    found = [each.sentence for each in hold_ups(jobs, held, known)]
    assert len(found) == len(told)
    assert all(sentence.startswith(beginning) for sentence, beginning in zip(found, told, strict=True)), found


def test_one_job_waits_and_several_wait() -> None:
    (found,) = hold_ups(Waiting({"router": 1}, (), {"router": OLD}), [], [])
    assert found.sentence.startswith("1 job waits, and")
