"""Paused queues and runs: nothing of theirs is claimed or woken, and all of it goes on afterwards."""

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import jobs
from persyn.config import parse_run
from persyn.errors import NotFound
from persyn.jobs import pauses
from persyn.stages import pipeline

if TYPE_CHECKING:
    from tests.integration.conftest import World


def _claimed(world: "World", queue: str) -> int:
    with world.engine.begin() as conn:
        return len(jobs.claim(conn, world.lease(conn), queue, 64))


def test_a_paused_queue_is_neither_claimed_from_nor_waiting_until_it_is_resumed(world: "World") -> None:
    world.fill(3)
    with world.engine.begin() as conn:
        pauses.pause_queue(conn, world.queue, reason="the endpoint is down", by="test")
        assert jobs.waiting(conn) == {}
        assert jobs.next_group(conn, world.queue) is None
        (pause,) = pauses.paused(conn)
    assert (pause.queue, pause.reason, pause.until_at) == (world.queue, "the endpoint is down", None)
    assert _claimed(world, world.queue) == 0
    with world.engine.begin() as conn:
        assert pauses.resume_queue(conn, world.queue)
        assert not pauses.resume_queue(conn, world.queue)
        assert jobs.waiting(conn) == {world.queue: 3}
    assert _claimed(world, world.queue) == 3


def test_a_pause_with_an_end_lifts_itself(world: "World") -> None:
    world.fill(2)
    with world.engine.begin() as conn:
        pauses.pause_queue(conn, world.queue, reason="429", by="test", seconds=3600)
        assert pauses.paused(conn)[0].until_at is not None
    assert _claimed(world, world.queue) == 0
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE queue_pause SET until_at = '2000-01-01'"))
        assert pauses.paused(conn) == []
    assert _claimed(world, world.queue) == 2


def test_pausing_again_replaces_the_reason_and_the_end(world: "World") -> None:
    with world.engine.begin() as conn:
        pauses.pause_queue(conn, world.queue, reason="first", by="a", seconds=60)
        pauses.pause_queue(conn, world.queue, reason="second", by="b")
        (pause,) = pauses.paused(conn)
    assert (pause.reason, pause.paused_by, pause.until_at) == ("second", "b", None)


def test_a_paused_run_lets_the_others_in_its_queue_go_on(world: "World") -> None:
    world.fill(2)
    with world.engine.begin() as conn:
        other = world.add_run(conn, "other")
        pauses.pause_run(conn, world.run_id, reason="too dear", by="test")
        world.run_id, first = other, world.run_id
        world.enqueue(conn, world.prompts[3:6])
        assert jobs.waiting(conn) == {world.queue: 3}
    assert _claimed(world, world.queue) == 3
    assert _claimed(world, world.queue) == 0
    with world.engine.begin() as conn:
        (pause,) = pauses.paused(conn)
        assert (pause.run_id, pause.run, pause.reason) == (first, "run", "too dear")
        assert pauses.resume_run(conn, first)
        assert not pauses.resume_run(conn, first)
    assert _claimed(world, world.queue) == 2


def test_what_is_leased_when_its_queue_is_paused_is_stored_all_the_same(world: "World") -> None:
    lease_id, ids = world.leased(2)
    with world.engine.begin() as conn:
        pauses.pause_queue(conn, world.queue, reason="maintenance", by="test")
        assert world.answer(conn, lease_id, ids) == frozenset(ids)
    assert world.violations() == {}


def kinds(world: "World") -> list[tuple[str, str]]:
    with world.engine.connect() as conn:
        return [(str(pause.kind), pause.reason) for pause in pauses.paused(conn)]


def test_a_workers_pause_never_undoes_an_operators_and_a_resume_lifts_both(world: "World") -> None:
    world.fill(2)
    with world.engine.begin() as conn:
        pauses.pause_queue(conn, world.queue, reason="bill under review", by="me@here")
        pauses.hold_part(conn, pauses.Part(world.queue), reason="HTTP 503", by="host:1", seconds=20.0)
        conn.execute(text("UPDATE queue_pause SET until_at = '2000-01-01' WHERE kind = 'worker'"))
    assert kinds(world) == [("operator", "bill under review")]
    assert _claimed(world, world.queue) == 0
    with world.engine.begin() as conn:
        pauses.hold_part(conn, pauses.Part(world.queue), reason="HTTP 503 again", by="host:1", seconds=20.0)
    assert kinds(world) == [("operator", "bill under review"), ("worker", "HTTP 503 again")]
    with world.engine.begin() as conn:
        assert pauses.resume_queue(conn, world.queue)
    assert kinds(world) == []
    assert _claimed(world, world.queue) == 2


def test_of_two_workers_pauses_the_longer_one_stays(world: "World") -> None:
    with world.engine.begin() as conn:
        pauses.hold_part(conn, pauses.Part(world.queue), reason="no key is right", by="host:1", seconds=300.0)
        pauses.hold_part(conn, pauses.Part(world.queue), reason="down", by="host:2", seconds=2.0)
    assert kinds(world) == [("worker", "no key is right")]


JUDGE = {"kind": "judge", "model": "j", "endpoint": {"url": "http://127.0.0.1:9/v1"}}


def test_a_scorer_whose_endpoint_is_at_fault_holds_no_neighbour_of_its_queue(build_run: Any) -> None:
    run = build_run(scorers={"quality": [JUDGE, {"kind": "math_verify"}], "learnability": "none"}, alpha=0)
    run.advance()
    run.answer("a")
    run.answer("b")
    run.advance()
    ids = dict(run.rows("SELECT method, id FROM scorer"))
    queue = "score.quality"
    with run.engine.begin() as conn:
        assert jobs.waiting(conn) == {queue: 16}
        pauses.hold_part(conn, pauses.Part(queue, scorer_id=ids["judge"]), reason="HTTP 503", by="h:1", seconds=60)
        (pause,) = pauses.paused(conn)
        assert (pause.queue, pause.scorer, pause.is_whole) == (queue, "judge j", False)
        assert jobs.waiting(conn) == {queue: 8}
        lease_id = jobs.open_lease(conn, worker="w", host="h", queue=queue)
        assert jobs.claim(conn, lease_id, queue, 64, scorer_ids=[ids["judge"]]) == []
        group = jobs.next_group(conn, queue)
        assert group is not None
        assert group.scorer_id == ids["math_verify"]
        assert len(jobs.claim(conn, lease_id, queue, 64, scorer_ids=[ids["math_verify"]])) == 8
        assert (jobs.waiting(conn), jobs.next_group(conn, queue)) == ({}, None)
        assert pauses.resume_queue(conn, queue)
        assert jobs.waiting(conn) == {queue: 8}


def test_a_teacher_version_whose_endpoint_is_at_fault_holds_no_other_version_of_its_name(build_run: Any) -> None:
    run = build_run()
    changed = [{**teacher.model_dump(), "system_prompt": "Be brief."} for teacher in run.config.teachers]
    other = run.create(parse_run({**run.config.model_dump(), "name": "other", "teachers": changed}, source="test"))
    run.advance()
    pipeline.advance(run.engine, other)
    first = run.rows("SELECT teacher_id FROM run_teacher WHERE run_id = :id AND position = 0", id=run.id)[0][0]
    with run.engine.begin() as conn:
        assert jobs.waiting(conn)["teacher.a"] == 8
        pauses.hold_part(conn, pauses.Part("teacher.a", teacher_id=first), reason="401", by="h:1", seconds=60)
        assert jobs.waiting(conn) == {"teacher.a": 4, "teacher.b": 8}
        group = jobs.next_group(conn, "teacher.a")
        assert group is not None
        assert (group.run_id, group.teacher_id) != (run.id, first)
        lease_id = jobs.open_lease(conn, worker="w", host="h", queue="teacher.a")
        assert jobs.claim(conn, lease_id, "teacher.a", 64, teacher_id=first) == []
        assert len(jobs.claim(conn, lease_id, "teacher.a", 64, teacher_id=group.teacher_id)) == 4


@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan"), 31_536_000.0])
def test_a_worker_holds_no_queue_for_longer_than_an_hour(world: "World", seconds: float) -> None:
    with world.engine.begin() as conn:
        pauses.hold_part(conn, pauses.Part(world.queue), reason="Retry-After", by="host:1", seconds=seconds)
    assert world.scalar("SELECT until_at <= clock_timestamp() + interval '1 hour' FROM queue_pause")


def test_pausing_an_unknown_run_says_so(world: "World") -> None:
    with world.engine.begin() as conn, pytest.raises(NotFound, match="no run 999"):
        pauses.pause_run(conn, 999)
