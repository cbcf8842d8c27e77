"""What Prometheus is told."""

from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from persyn import counters, jobs
from persyn.jobs import pauses, workers
from persyn.reporting import gauges

if TYPE_CHECKING:
    from tests.integration.conftest import World

QUEUE = "teacher.small"


def values(world: "World") -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(gauges.render(world.engine).decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_the_gauges_say_what_the_tables_say(world: "World") -> None:
    lease_id, ids = world.leased(3)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids[:1])
        world.enqueue(conn, world.prompts[3:5])
        workers.started(conn, "h:1", host="h", pid=1, queues=[])
        pauses.pause_queue(conn, "teacher.large", reason="r", by="b")
        pauses.hold_part(conn, pauses.Part("teacher.large"), reason="HTTP 503", by="h:1", seconds=60.0)
        workers.seen(
            conn, "h:1", workers.WorkerStatus([], None, None, None, [workers.Unfit("router", "no torch", 9.0)])
        )
        pauses.pause_run(conn, world.add_run(conn, "other"))
    found = values(world)
    assert {state: found[("persyn_jobs", (QUEUE, state))] for state in ("ready", "leased", "done")} == {
        "ready": 2, "leased": 2, "done": 1,
    }  # fmt: skip
    assert found[("persyn_jobs_due", (QUEUE,))] == 2
    assert found[("persyn_leases_open", (QUEUE,))] == 1
    assert found[("persyn_lease_age_seconds", (QUEUE,))] >= 0
    assert found[("persyn_queue_paused", ("teacher.large",))] == 1
    assert found[("persyn_runs_paused", ())] == 1
    assert found[("persyn_workers", ("idle",))] == 1
    assert found[("persyn_workers_unfit", ("router",))] == 1


def test_retries_losses_and_deaths_are_counted_where_they_happen(world: "World") -> None:
    before = {counter: _total(counter) for counter in (counters.RETRIED, counters.LOST, counters.DIED)}
    lease_id, ids = world.leased(3)
    with world.engine.begin() as conn:
        jobs.fail(conn, lease_id, [jobs.Failure(ids[0], "slow", "s", False), jobs.Failure(ids[1], "bad", "b", True)])
    world.revoke(lease_id)
    assert {counter: _total(counter) - count for counter, count in before.items()} == dict.fromkeys(before, 1)


def _total(counter: Counter) -> float:
    return sum(
        sample.value for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")
    )


def test_a_queue_without_jobs_has_its_series_all_the_same(world: "World") -> None:
    found = values(world)
    for queue in (QUEUE, "teacher.large", "router", "score.quality", "score.learnability"):
        for name in ("jobs_due", "queue_oldest_due_seconds", "leases_open", "workers_serving", "workers_unfit"):
            assert found[(f"persyn_{name}", (queue,))] == 0


def test_the_oldest_due_job_and_the_workers_of_a_queue_are_told(world: "World") -> None:
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:2])
        conn.execute(text("UPDATE job SET not_before = not_before - interval '1 hour' WHERE prompt_id = :p"),
                     {"p": world.prompts[0]})  # fmt: skip
        for number, lacks in enumerate(([], [workers.Unfit(QUEUE, "no key", 9.0)])):
            workers.started(conn, f"h:{number}", host="h", pid=number, queues=[QUEUE])
            workers.seen(conn, f"h:{number}", workers.WorkerStatus([QUEUE], None, None, None, lacks))
    found = values(world)
    assert 3600 <= found[("persyn_queue_oldest_due_seconds", (QUEUE,))] < 3700
    assert found[("persyn_workers_serving", (QUEUE,))] == 1
    assert found[("persyn_workers_unfit", (QUEUE,))] == 1


def test_runs_have_series_of_their_own_until_a_day_after_their_end(world: "World") -> None:
    with world.engine.begin() as conn:
        world.enqueue(conn, world.prompts[:2])
        for name, ended, why in (("yesterday", "2 days", None), ("broken", "1 hour", "its route job is dead")):
            run_id = world.add_run(conn, name)
            conn.execute(
                text("UPDATE run SET finished_at = clock_timestamp() - CAST(:ago AS interval), blocked_reason = :why"
                     " WHERE id = :id"), {"ago": ended, "why": why, "id": run_id},
            )  # fmt: skip
    found = values(world)
    assert {labels for name, labels in found if name == "persyn_run_state"} == {
        ("broken", "failed"),
        ("run", "waiting"),
    }
    assert {labels: number for (name, labels), number in found.items() if name == "persyn_run_jobs"} == {
        (QUEUE, "run", "ready"): 2
    }
    assert [found[("persyn_runs", (state,))] for state in ("failed", "finished", "waiting")] == [1, 1, 1]


def test_a_database_with_many_runs_gives_no_more_series(world: "World") -> None:
    with world.engine.begin() as conn:
        for number in range(gauges.SHOWN_AT_MOST + 5):
            world.add_run(conn, f"run-{number}")
    found = values(world)
    assert sum(name == "persyn_run_state" for name, _ in found) == gauges.SHOWN_AT_MOST
    assert ("persyn_run_state", ("run-54", "in progress")) in found
    assert found[("persyn_runs", ("in progress",))] == gauges.SHOWN_AT_MOST + 6
