"""Claims, wake-ups and counts on many jobs: they read what they need and no more."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.jobs import statements

if TYPE_CHECKING:
    from tests.integration.conftest import World

MANY = 3000
NOTHING_LEFT_OUT: dict[str, list[int]] = {"without_run_ids": [], "without_teacher_ids": [], "without_scorer_ids": []}
FILL = text("""
WITH made AS (
    INSERT INTO job (run_id, kind, queue, stage, prompt_id, teacher_id, sample_index, not_before)
    SELECT :run, 'generate', :queue, 50, :prompt, :teacher, n,
           clock_timestamp() + make_interval(secs => CAST(:wait AS double precision))
    FROM generate_series(1000, 999 + :many) AS n RETURNING run_id, queue, stage
)
INSERT INTO job_count (run_id, queue, stage, state, jobs)
SELECT run_id, queue, stage, 'ready', count(*) FROM made GROUP BY run_id, queue, stage
""")


def fill(world: "World", conn: Connection, *, wait: float = 0.0, teacher: int = 0, queue: str | None = None) -> None:
    values = {
        "run": world.run_id, "queue": queue or world.queue, "prompt": world.prompts[0],
        "teacher": world.teachers[teacher], "many": MANY, "wait": wait,
    }  # fmt: skip
    conn.execute(FILL, values)


def rows_read(conn: Connection, statement: Any, **values: Any) -> int:
    """How many rows of `job` the statement reads, in its indexes or in the table, as Postgres counts them."""
    conn.execute(text("SET LOCAL enable_seqscan = off"))
    plan = conn.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}"), values).scalar_one()
    return sum(_reads(plan[0]["Plan"]))


def _reads(node: dict[str, Any]) -> list[int]:
    own = []
    if node.get("Relation Name") == "job" and "Scan" in node["Node Type"]:
        own = [int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])]
    return own + [rows for child in node.get("Plans", []) for rows in _reads(child)]


def claim_values(world: "World", lease_id: int) -> dict[str, Any]:
    values = {"lease_id": lease_id, "queue": world.queue, "teacher_id": None, "scorer_ids": None, "only_run_id": None}
    return values | {"limit": 8, "deadline": 60.0}


def test_a_storm_of_retries_that_wait_costs_a_claim_nothing(world: "World") -> None:
    with world.engine.begin() as conn:
        fill(world, conn, wait=3600.0)
        world.enqueue(conn, world.prompts[:6])
    with world.engine.begin() as conn:
        assert rows_read(conn, statements.CLAIM, **claim_values(world, world.lease(conn))) < 40


def test_a_paused_runs_long_lane_costs_a_claim_of_the_others_nothing(world: "World") -> None:
    with world.engine.begin() as conn:
        fill(world, conn)
        conn.execute(text("UPDATE run SET paused_at = clock_timestamp()"))
        world.run_id = world.add_run(conn, "other")
        world.enqueue(conn, world.prompts[:6])
    with world.engine.begin() as conn:
        assert rows_read(conn, statements.CLAIM, **claim_values(world, world.lease(conn))) < 40


def test_another_teachers_long_lane_costs_a_claim_nothing(world: "World") -> None:
    """Two versions of one teacher share its queue; a run has one of them."""
    with world.engine.begin() as conn:
        fill(world, conn, teacher=1)
        conn.execute(text("DELETE FROM run_teacher WHERE teacher_id = :id"), {"id": world.teachers[0]})
        lease_id = world.lease(conn)
        values = claim_values(world, lease_id) | {"teacher_id": world.teachers[0]}
        assert rows_read(conn, statements.CLAIM, **values) < 40
        assert jobs.claim(conn, lease_id, world.queue, 8, teacher_id=world.teachers[0]) == []


def test_looking_for_work_reads_a_thousand_rows_of_a_long_lane_at_most(world: "World") -> None:
    with world.engine.begin() as conn:
        fill(world, conn)
        fill(world, conn, queue="other", teacher=1)
        assert rows_read(conn, statements.WAITING, at_most=100) <= 2 * 100 + 4
        assert rows_read(conn, statements.NEXT_GROUP, queue=world.queue, **NOTHING_LEFT_OUT) <= 4
        assert jobs.waiting(conn) == {world.queue: MANY, "other": MANY}


def test_the_counts_survive_their_folding(world: "World") -> None:
    lease_id, ids = world.leased(4)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids[:1])
        jobs.fail(conn, lease_id, [jobs.Failure(ids[1], "broken", "it broke", permanent=True)])
        before = jobs.counts(conn)
        conn.execute(statements.FOLD, {"at_most": 0})
        assert jobs.counts(conn) == before
    assert {count.state: count.jobs for count in before} == {"done": 1, "dead": 1, "leased": 2}
    assert world.scalar("SELECT count(*) FROM job_count") == 3
    assert world.violations() == {}


def test_folding_is_left_alone_while_there_are_few_rows(world: "World") -> None:
    world.leased(2)
    rows = world.scalar("SELECT count(*) FROM job_count")
    with world.engine.begin() as conn:
        jobs.fold_counts(conn)
    assert world.scalar("SELECT count(*) FROM job_count") == rows


def test_a_released_job_keeps_its_place_and_a_retried_one_goes_behind(world: "World") -> None:
    lease_id, ids = world.leased(2)
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[2:4])
        jobs.fail(conn, lease_id, [jobs.Failure(ids[1], "broken", "it broke", permanent=False)])
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE id = :id"), {"id": ids[1]})
        jobs.close(conn, lease_id, "shutting down")
    with world.engine.begin() as conn:
        order = [claim.id for claim in jobs.claim(conn, world.lease(conn), world.queue, 8)]
    assert order[0] == ids[0]
    assert order[-1] == ids[1]
    assert len(order) == 4


def test_the_next_group_leaves_out_what_the_caller_cannot_serve(world: "World") -> None:
    world.fill(1)
    with world.engine.begin() as conn:
        for without in (
            jobs.Without(teacher_ids=world.teachers),
            jobs.Without(run_ids=[world.run_id]),
        ):
            assert jobs.next_group(conn, world.queue, without=without) is None
        others = jobs.Without(run_ids=[999], teacher_ids=[world.teachers[1]], scorer_ids=[world.quality_id])
        assert jobs.next_group(conn, world.queue, without=others) is not None
        lease_id = world.lease(conn)
        assert jobs.claim(conn, lease_id, world.queue, 1, run_id=999) == []
        assert len(jobs.claim(conn, lease_id, world.queue, 1, run_id=world.run_id)) == 1
