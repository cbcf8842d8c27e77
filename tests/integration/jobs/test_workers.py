"""The workers' rows: what each says of itself, how it is seen, and how it is asked to leave."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, text

from persyn import jobs
from persyn.errors import NotFound
from persyn.jobs import workers

if TYPE_CHECKING:
    from tests.integration.conftest import World

IDLE = workers.WorkerStatus(["teacher.small"], None, None, None)
BUSY = workers.WorkerStatus(["teacher.small"], "teacher.small", "small", 12.5)


def state(conn: Connection, name: str = "h:1") -> str:
    return str(next(each.state for each in workers.workers(conn) if each.name == name))


def start(conn: Connection, name: str = "h:1", host: str = "h") -> None:
    workers.started(conn, name, host=host, pid=1, queues=IDLE.queues)


def test_a_worker_is_idle_then_working_then_stopped(world: "World") -> None:
    with world.engine.begin() as conn:
        start(conn)
        assert state(conn) == "idle"
        workers.seen(conn, "h:1", BUSY)
        (found,) = workers.workers(conn)
        assert (found.state, found.teacher, found.model, found.tokens_per_s) == ("working", "small", "m", 12.5)
        workers.stopped(conn, "h:1")
        assert state(conn) == "stopped"


def test_a_worker_that_says_nothing_is_gone(world: "World") -> None:
    with world.engine.begin() as conn:
        start(conn)
        conn.execute(text("UPDATE worker SET seen_at = seen_at - interval '61 seconds'"))
        assert state(conn) == "gone"
        workers.seen(conn, "h:1", IDLE)
        assert state(conn) == "idle"


def test_a_worker_shows_its_newest_open_lease_and_what_it_holds(world: "World") -> None:
    world.fill(3)
    with world.engine.begin() as conn:
        start(conn)
        lease_id = jobs.open_lease(conn, worker="h:1", host="h", queue=world.queue)
        jobs.claim(conn, lease_id, world.queue, 2)
        (found,) = workers.workers(conn)
        assert (found.lease_id, found.leased_jobs) == (lease_id, 2)
        assert found.heartbeat_at is not None
        jobs.close(conn, lease_id, "done")
        (found,) = workers.workers(conn)
        assert (found.lease_id, found.leased_jobs) == (None, 0)


def test_a_worker_asked_to_drain_hears_of_it_and_of_the_end_of_its_grace(world: "World") -> None:
    with world.engine.begin() as conn:
        start(conn)
        assert workers.seen(conn, "h:1", BUSY) == (False, False)
        assert workers.request_drain(conn, name="h:1", grace_s=600) == ["h:1"]
        assert workers.seen(conn, "h:1", BUSY) == (True, False)
        assert state(conn) == "draining"
        workers.request_drain(conn, name="h:1", grace_s=0)
        assert workers.seen(conn, "h:1", BUSY) == (True, True)
        assert workers.still_there(conn, ["h:1"]) == ["h:1"]
        workers.stopped(conn, "h:1")
        assert workers.still_there(conn, ["h:1"]) == []


def test_a_host_is_drained_as_a_whole_and_others_are_not(world: "World") -> None:
    with world.engine.begin() as conn:
        for name, host in (("a:1", "a"), ("a:2", "a"), ("b:1", "b")):
            start(conn, name, host)
        assert workers.request_drain(conn, host="a") == ["a:1", "a:2"]
        assert state(conn, "b:1") == "idle"


@pytest.mark.parametrize("asked", [{"name": "nobody:1"}, {"host": "nowhere"}])
def test_draining_a_worker_that_is_not_there_says_so(world: "World", asked: dict[str, str]) -> None:
    with world.engine.begin() as conn, pytest.raises(NotFound, match="persyn workers"):
        workers.request_drain(conn, **asked)


def test_a_worker_says_what_it_cannot_serve_and_who_else_could(world: "World") -> None:
    lacks = [workers.Unfit("teacher.small", "the key is not set", 30.0)]
    with world.engine.begin() as conn:
        start(conn)
        workers.seen(conn, "h:1", IDLE._replace(unfit=lacks))
        (found,) = workers.workers(conn)
        assert [(each["queue"], each["reason"]) for each in found.unfit] == [("teacher.small", "the key is not set")]
        assert conn.execute(text("SELECT (unfit -> 0 ->> 'again_at')::timestamptz > now() FROM worker")).scalar_one()
        assert workers.unserved([found]) == {"teacher.small": ["h:1: the key is not set"]}
        start(conn, "h:2")
        assert workers.unserved(workers.workers(conn)) == {}, "the other one serves it"
        workers.stopped(conn, "h:2")
        workers.seen(conn, "h:1", IDLE)
        assert workers.unserved(workers.workers(conn)) == {}


def test_a_process_id_that_comes_again_starts_afresh(world: "World") -> None:
    with world.engine.begin() as conn:
        start(conn)
        workers.request_drain(conn, name="h:1")
        workers.stopped(conn, "h:1")
        start(conn)
        assert state(conn) == "idle"
        assert workers.seen(conn, "h:1", IDLE) == (False, False)
