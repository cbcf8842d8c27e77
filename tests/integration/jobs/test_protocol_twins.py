"""Two runs on one prompt set: a result that one of them has, or is about to have, is not computed for the other."""

from typing import TYPE_CHECKING

from sqlalchemy import text

from persyn import jobs

if TYPE_CHECKING:
    from tests.integration.conftest import World


def enqueue_twice(world: "World", count: int) -> None:
    """The same answers for two runs; `world.run_id` is then the second one."""
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:count])
        world.run_id = world.add_run(conn, "second")
        world.enqueue(conn, world.prompts[:count])


def claim(world: "World", limit: int = 64) -> tuple[int, list[jobs.Claim]]:
    with world.engine.begin() as conn:
        lease_id = world.lease(conn)
        return lease_id, jobs.claim(conn, lease_id, world.queue, limit)


def states(world: "World") -> list[tuple[str, int]]:
    with world.engine.connect() as conn:
        rows = conn.execute(text("SELECT state, attempt FROM job WHERE run_id = :id ORDER BY id"), {"id": world.run_id})
        return [tuple(row) for row in rows]


def test_a_job_whose_twin_is_worked_on_is_not_handed_out_and_then_it_is_done(world: "World") -> None:
    enqueue_twice(world, 3)
    lease_id, claims = claim(world)
    assert len(claims) == 3
    assert claim(world)[1] == []
    assert states(world) == [("ready", 0)] * 3
    with world.engine.begin() as conn:
        assert jobs.next_group(conn, world.queue) is None, "nothing is due while its twin is worked on"
        world.answer(conn, lease_id, [each.id for each in claims])
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE state = 'ready'"))
    assert claim(world)[1] == []
    assert states(world) == [("done", 1)] * 3
    details = (
        "SELECT DISTINCT e.detail FROM job_event e JOIN job j ON j.id = e.job_id WHERE j.run_id = :r AND event = :e"
    )
    assert world.scalar(details, r=world.run_id, e="completed") == "reused"
    assert world.scalar("SELECT count(*) FROM generation") == 3
    assert world.violations() == {}


def test_a_twin_that_died_leaves_the_work_to_the_other(world: "World") -> None:
    enqueue_twice(world, 1)
    lease_id, (first,) = claim(world)
    assert claim(world)[1] == []
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [jobs.Failure(first.id, "broken", "it broke", permanent=True)])
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE state = 'ready'"))
    (second,) = claim(world)[1]
    assert (second.run_id, second.attempt) == (world.run_id, 1)


def test_a_claim_passes_over_what_is_there_until_it_has_what_was_asked_for(world: "World") -> None:
    enqueue_twice(world, 5)
    lease_id, claims = claim(world, 4)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, [each.id for each in claims])
    found = claim(world, 1)[1]
    assert [each.prompt_id for each in found] == [world.prompts[4]]
    assert [state for state, _ in states(world)] == ["ready"] * 5
    assert claim(world, 2)[1] == []
    assert [state for state, _ in states(world)] == ["done"] * 4 + ["ready"]
    assert world.violations() == {}


def test_a_dead_job_that_is_revived_takes_the_answer_that_another_run_has_made_meanwhile(world: "World") -> None:
    enqueue_twice(world, 1)
    lease_id, (first,) = claim(world)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [jobs.Failure(first.id, "broken", "it broke", permanent=True)])
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE state = 'ready'"))
    lease_id, (second,) = claim(world)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, [second.id])
        jobs.revive(conn, [first.id])
    assert claim(world)[1] == []
    assert world.job(first.id).state == "done"
    assert world.violations() == {}


def test_an_answer_that_was_cut_is_asked_for_again_by_a_job_made_after_it(world: "World") -> None:
    lease_id, ids = world.leased(1)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids)
        conn.execute(text("UPDATE generation SET finish_reason = 'length'"))
        world.run_id = world.add_run(conn, "second")
        world.enqueue(conn, world.prompts[:1])
    assert len(claim(world)[1]) == 1
