"""What Prometheus is told, and that the dashboard asks for nothing else."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from persyn import counters, jobs
from persyn.jobs import pauses, workers
from persyn.reporting import gauges

if TYPE_CHECKING:
    from tests.integration.conftest import World

DOCS = Path(__file__).resolve().parents[3] / "docs"
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
        pauses.hold_queue(conn, "teacher.large", reason="HTTP 503", by="h:1", seconds=60.0)
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


def known_names(world: "World") -> set[str]:
    registry = CollectorRegistry()
    registry.register(gauges.Gauges(world.engine))
    names = {metric.name for metric in registry.collect()}
    own = (value for value in vars(counters).values() if isinstance(value, Counter))
    return names | {f"{metric.name}_total" for counter in own for metric in counter.collect()}


def test_the_dashboard_asks_for_nothing_that_does_not_exist(world: "World") -> None:
    dashboard = json.loads((DOCS / "grafana" / "persyn.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked = {name for query in queries for name in re.findall(r"persyn_\w+", query)}
    assert len(queries) >= 8
    assert asked <= known_names(world)


def test_the_operators_page_names_every_metric_and_no_other(world: "World") -> None:
    page = (DOCS / "operations.md").read_text()
    assert set(re.findall(r"`(persyn_[a-z_]+)[`{]", page)) == known_names(world)
