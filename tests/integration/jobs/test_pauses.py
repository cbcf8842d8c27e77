"""Paused queues and runs: nothing of theirs is claimed or woken, and all of it goes on afterwards."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from persyn import jobs
from persyn.errors import NotFound
from persyn.jobs import pauses

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
        world.enqueue(conn, world.prompts[:3])
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


def test_pausing_an_unknown_run_says_so(world: "World") -> None:
    with world.engine.begin() as conn, pytest.raises(NotFound, match="no run 999"):
        pauses.pause_run(conn, 999)
