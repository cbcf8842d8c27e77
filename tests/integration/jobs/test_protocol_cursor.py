"""Claims that go on from where the last one ended: what they save, and that they pass over nothing for good."""

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import jobs
from persyn.jobs import pauses, statements
from tests.integration.jobs.test_protocol_lanes import MANY, claim_values, fill

if TYPE_CHECKING:
    from tests.integration.conftest import World

AT_ONCE = 0.0
NEVER = float("inf")


@pytest.fixture
def cursor(monkeypatch: pytest.MonkeyPatch) -> jobs.ClaimCursor:
    """One that looks at everything again only when its lane is read to the end."""
    monkeypatch.setattr("persyn.jobs.cursor.LOOK_AGAIN_S", NEVER)
    return jobs.ClaimCursor()


def claim(world: "World", lease_id: int, limit: int, cursor: jobs.ClaimCursor) -> list[int]:
    with world.engine.begin() as conn:
        return [claim.id for claim in jobs.claim(conn, lease_id, world.queue, limit, cursor=cursor)]


def opened(world: "World") -> int:
    with world.engine.begin() as conn:
        return world.lease(conn)


def pages_read(world: "World", statement: Any, **more: Any) -> int:
    with world.engine.begin() as conn:
        conn.execute(statements.BY_INDEX)
        values = claim_values(world, world.lease(conn)) | more
        plan = conn.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"), values).scalar_one()
        return _pages(plan[0]["Plan"])


def _pages(node: dict[str, Any]) -> int:
    """Pages that the scans of the ready jobs read, of the index and of the table."""
    own = int(node["Shared Hit Blocks"] + node["Shared Read Blocks"]) if node.get("Index Name") == "ix_job_ready" else 0
    return own + sum(_pages(child) for child in node.get("Plans", []))


def test_what_is_done_costs_no_later_claim_anything_even_while_vacuum_can_remove_none_of_it(world: "World") -> None:
    with world.engine.begin() as conn:
        fill(world, conn)
        place = conn.execute(
            text("SELECT run_id, stage, not_before, id AS job_id FROM job ORDER BY id OFFSET :most LIMIT 1"),
            {"most": MANY - 100},
        ).one()
    with world.engine.connect().execution_options(isolation_level="REPEATABLE READ") as backup:
        backup.execute(text("SELECT count(*) FROM run"))  # its snapshot sees them all as ready until it ends
        with world.engine.begin() as conn:
            conn.execute(
                text("UPDATE job SET state = 'done', finished_at = clock_timestamp() WHERE id <= :id"),
                {"id": place.job_id},
            )
        from_its_place = pages_read(world, statements.CLAIM_ON, **place._mapping)
        assert from_its_place < 10 < 100 < pages_read(world, statements.CLAIM)


def test_claims_that_go_on_take_each_job_once_and_in_order(world: "World", cursor: jobs.ClaimCursor) -> None:
    ids, lease_id = world.fill(6), opened(world)
    taken = [claim(world, lease_id, 2, cursor) for _ in range(4)]
    assert taken == [ids[:2], ids[2:4], ids[4:], []]
    assert world.violations() == {}


def test_a_job_handed_back_behind_the_place_is_taken_once_the_lane_is_read_to_its_end(
    world: "World", cursor: jobs.ClaimCursor
) -> None:
    ids, first, lease_id = world.fill(6), opened(world), opened(world)
    claim(world, first, 1, jobs.ClaimCursor())
    assert claim(world, lease_id, 2, cursor) == ids[1:3]
    with world.engine.begin() as conn:
        jobs.close(conn, first, "shutting down")
    assert claim(world, lease_id, 2, cursor) == ids[3:5]
    assert claim(world, lease_id, 2, cursor) == [ids[5], ids[0]]


def test_a_lane_that_goes_first_is_seen_as_soon_as_everything_is_looked_at_again(
    world: "World", cursor: jobs.ClaimCursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, lease_id = world.fill(6), opened(world)
    assert claim(world, lease_id, 2, cursor) == ids[:2]
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET stage = 10 WHERE id = :id"), {"id": ids[5]})
    assert claim(world, lease_id, 1, cursor) == [ids[2]]
    monkeypatch.setattr("persyn.jobs.cursor.LOOK_AGAIN_S", AT_ONCE)
    assert claim(world, lease_id, 1, cursor) == [ids[5]]


def test_a_pause_holds_for_a_claim_that_goes_on(world: "World", cursor: jobs.ClaimCursor) -> None:
    ids, lease_id = world.fill(6), opened(world)
    assert claim(world, lease_id, 2, cursor) == ids[:2]
    with world.engine.begin() as conn:
        pauses.pause_run(conn, world.run_id, reason="too dear", by="test")
    assert claim(world, lease_id, 2, cursor) == []


def test_nothing_joins_a_suspect_on_a_claim_that_goes_on(world: "World", cursor: jobs.ClaimCursor) -> None:
    ids, lease_id = world.fill(6), opened(world)
    assert claim(world, lease_id, 2, cursor) == ids[:2]
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE job SET lost_count = 2 WHERE id = :id"), {"id": ids[0]})
    assert claim(world, lease_id, 2, cursor) == []
