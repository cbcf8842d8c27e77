"""Several workers route one set: each prompt is decided once, also where one of them is killed in mid-range."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from persyn import jobs, reporting, runs
from persyn.config import Budget
from persyn.jobs.wake_ups import ROUTER
from persyn.policies import budgeted
from persyn.router import predict
from persyn.stages import pipeline, ranges, train
from persyn.states import Stage
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker
from tests.integration.workers.test_router import CALIBRATED, budgeted_run, scored_run, violations

ROOT = Path(__file__).resolve().parents[3]
MANY, SIZE = 40, 5
# A worker as `persyn worker --router` is one, with the maintenance that gives lost jobs back, until all is routed.
WORKER = """
import sys, time
from pathlib import Path
from persyn import jobs
from persyn.db import session
from persyn.stages import ranges
from persyn.workers.worker import Worker
from persyn.workers.router import drain_router
from sqlalchemy import text
ranges.BATCH = 1
engine = session.connect(sys.argv[1])
worker = Worker(engine, Path(sys.argv[2]))
left = text("SELECT count(*) FROM job WHERE kind = 'route' AND state <> 'done'")
while True:
    drain_router(worker)
    with engine.begin() as conn:
        jobs.reap(conn)
        if not conn.execute(left).scalar_one():
            break
    time.sleep(0.05)
"""
# A decision waits while the test holds the door, a lock of this number.
DOOR = 4711
WAITING = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :door AND NOT granted ORDER BY pid")
HELD = text("""
SELECT j.id, j.first_prompt_id, j.last_prompt_id, l.worker FROM job j JOIN lease l ON l.id = j.lease_id
WHERE j.kind = 'route' AND j.state = 'leased' ORDER BY j.id
""")


def door_before(condition: str) -> str:
    """SQL that lets a decision about some prompts wait at the door."""
    return f"""
    CREATE FUNCTION wait_at_the_door() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF {condition} THEN
            PERFORM pg_advisory_xact_lock_shared({DOOR});
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER at_the_door BEFORE INSERT ON routing_decision FOR EACH ROW EXECUTE FUNCTION wait_at_the_door();
    """


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PROMPTS", SIZE)


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> "Iterator[Callable[[], subprocess.Popen[bytes]]]":
    """Starts a worker in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", WORKER, database_url, str(tmp_path)]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@contextmanager
def closed_door(engine: Engine) -> Iterator[Connection]:
    """A connection that commits by itself, and holds the door until it ends."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("SELECT pg_advisory_lock(:door)"), {"door": DOOR})
        try:
            yield conn
        finally:
            conn.execute(text("SELECT pg_advisory_unlock_all()"))


def wait_for(conn: Connection, waiting: int, workers: "list[subprocess.Popen[bytes]]") -> list[int]:
    """The backends at the door, once they are so many."""
    while len(pids := list(conn.execute(WAITING, {"door": DOOR}).scalars())) < waiting:
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.02)
    return pids


def aim_at_routing(engine: Engine, run_id: int) -> None:
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.ROUTE)
    pipeline.advance(engine, run_id)


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]


DECISIONS = "SELECT count(*), count(DISTINCT prompt_id) FROM routing_decision"
BY_WORKER = """
SELECT count(DISTINCT l.worker) FROM routing_decision d JOIN lease l ON l.id = d.lease_id
"""


def test_two_workers_route_one_set_together(engine: Engine, start: "Callable[[], subprocess.Popen[bytes]]") -> None:
    run_id = scored_run(engine, MANY, policy="random", calibration_answers="best")
    with engine.begin() as conn:
        conn.exec_driver_sql(door_before("true"))
    aim_at_routing(engine, run_id)
    assert rows(engine, "SELECT count(*) FROM job WHERE kind = 'route'") == [(MANY // SIZE,)]
    with closed_door(engine) as conn:
        workers = [start(), start()]
        wait_for(conn, 2, workers)
        held = conn.execute(HELD).all()
        assert len({job.worker for job in held}) == 2, "each holds a range of its own"
    assert [worker.wait() for worker in workers] == [0, 0]
    assert rows(engine, DECISIONS) == [(MANY, MANY)]
    assert rows(engine, BY_WORKER) == [(2,)]
    assert pipeline.advance(engine, run_id).finished
    assert violations(engine) == []


def test_a_worker_killed_in_mid_range_leaves_its_decisions_and_the_other_one_makes_the_rest(
    engine: Engine, start: "Callable[[], subprocess.Popen[bytes]]"
) -> None:
    run_id = scored_run(engine, MANY, policy="random", calibration_answers="routed")
    aim_at_routing(engine, run_id)
    (first,) = rows(engine, "SELECT min(first_prompt_id) + 3 FROM job WHERE kind = 'route'")
    with engine.begin() as conn:
        conn.exec_driver_sql(door_before(f"NEW.prompt_id = {first[0]}"))
    with closed_door(engine) as conn:
        workers = [start(), start()]
        (backend,) = wait_for(conn, 1, workers)
        [victim] = [job for job in conn.execute(HELD) if job.first_prompt_id <= first[0] <= job.last_prompt_id]
        before = rows(engine, f"SELECT * FROM routing_decision WHERE prompt_id < {first[0]} ORDER BY prompt_id")
        assert len(before) == 3, "it has decided on the first prompts of its range"
        (dead,) = [worker for worker in workers if f":{worker.pid}-" in victim.worker]
        dead.kill()
        dead.wait()
        conn.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": backend})
        conn.execute(text("UPDATE lease SET expires_at = '2000-01-01' WHERE worker = :name"), {"name": victim.worker})
    (other,) = [worker for worker in workers if worker is not dead]
    assert other.wait() == 0
    assert rows(engine, DECISIONS) == [(MANY, MANY)]
    after = rows(engine, f"SELECT * FROM routing_decision WHERE prompt_id < {first[0]} ORDER BY prompt_id")
    assert after == before
    assert rows(engine, "SELECT job_id FROM job_event WHERE event = 'lost'") == [(victim.id,)]
    assert rows(engine, "SELECT DISTINCT state FROM job WHERE kind = 'route'") == [("done",)]
    assert violations(engine) == []


def with_coefficients(engine: Engine, home: Path, model: str) -> int:
    """A run within budgets whose ranges are computed, and which decides next."""
    run_id = budgeted_run(engine, home, model, BUDGET, prompts=MANY)
    aim_at_routing(engine, run_id)
    drain_router(Worker(engine, home))
    return run_id


@pytest.mark.models
def test_a_router_is_loaded_once_for_all_ranges_of_a_run(
    engine: Engine, tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    class Counted(predict.LoadedRouter):
        def __init__(self, folder: Path, expected_sha256: str, backbone_path: str) -> None:
            loads.append(expected_sha256)
            super().__init__(folder, expected_sha256, backbone_path)

    monkeypatch.setattr(predict, "LoadedRouter", Counted)
    run_id = budgeted_run(engine, tmp_path, tiny_model, {}, policy="persyn", policy_options={}, prompts=MANY)
    aim_at_routing(engine, run_id)
    drain_router(Worker(engine, tmp_path))
    assert rows(engine, "SELECT count(*) FROM job WHERE kind = 'route' AND state = 'done'") == [(MANY // SIZE,)]
    assert rows(engine, "SELECT basis, count(*) FROM routing_decision GROUP BY 1 ORDER BY 1") == [
        ("measured", 6), ("router", MANY - 6),
    ]  # fmt: skip
    assert len(loads) == 1
    assert violations(engine) == []


BUDGET = {"b": {"share": 0.3}, "c": {"share": 0.45}}
CHOSEN = """
SELECT d.prompt_id, rt.position, d.margin, d.neighbour_ids, d.samples FROM routing_decision d
JOIN run_teacher rt ON rt.run_id = d.run_id AND rt.teacher_id = d.teacher_id WHERE d.basis = 'budget' ORDER BY 1
"""
KEPT = """
SELECT k.prompt_id, p.sha256, k.coefficients, k.neighbour_ids
FROM routing_coefficients k JOIN prompt p ON p.id = k.prompt_id ORDER BY 1
"""


def one_job_for_all(engine: Engine, run_id: int) -> None:
    """Take the routing back, and leave it to one job, as versions before did."""
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM routing_decision"))
        jobs.remove(conn, list(conn.execute(text("SELECT id FROM job WHERE kind = 'route'")).scalars()))
        jobs.enqueue_stage(conn, run_id, "route", ROUTER, Stage.ROUTE)


@pytest.mark.models
def test_a_budget_is_spent_on_what_the_ranges_computed_as_one_job_would_spend_it(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = with_coefficients(engine, tmp_path, tiny_model)
    kept = rows(engine, KEPT)
    assert len(kept) == MANY - CALIBRATED
    assert rows(engine, CHOSEN) == []
    assert violations(engine) == []
    with engine.connect() as conn:
        assert reporting.outcome(conn, run_id).came_after == 0, "coefficients are no decision"
    assert pipeline.advance(engine, run_id) == pipeline.Progress(1, False), "one job decides"
    drain_router(Worker(engine, tmp_path))
    chosen = rows(engine, CHOSEN)
    values = np.array([row[2] for row in kept])
    capacity = budgeted.capacities(
        ["a", "b", "c"], {name: Budget.model_validate(raw) for name, raw in BUDGET.items()},
        [budgeted.Usage(1, 1)] * 3, len(kept),
    )  # fmt: skip
    choice = budgeted.assign_within(values, capacity, [row[1] for row in kept])
    assert chosen == [
        (row[0], teacher, margin, row[3], 1)
        for row, teacher, margin in zip(kept, choice.teacher_index.tolist(), choice.margin.tolist(), strict=True)
    ]
    assert len({row[1] for row in chosen}) == 3, "both budgets bind"
    assert rows(engine, KEPT) == []
    assert pipeline.advance(engine, run_id).finished
    assert violations(engine) == []
    one_job_for_all(engine, run_id)
    drain_router(Worker(engine, tmp_path))
    assert [row[:2] for row in rows(engine, CHOSEN)] == [row[:2] for row in chosen]
    assert violations(engine) == []


@pytest.mark.models
def test_coefficients_of_a_router_that_was_trained_anew_meanwhile_count_for_nothing(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = with_coefficients(engine, tmp_path, tiny_model)
    with engine.begin() as conn:
        train.again(conn, run_id)
        conn.execute(text("UPDATE routing_coefficients SET coefficients = '{9, 0, 0}'"))
    drain_router(Worker(engine, tmp_path))
    assert pipeline.advance(engine, run_id).new_jobs > 1, "all ranges once more"
    drain_router(Worker(engine, tmp_path))
    assert pipeline.advance(engine, run_id).new_jobs == 1
    drain_router(Worker(engine, tmp_path))
    assert rows(engine, "SELECT count(*) FROM routing_decision WHERE 9 = ANY(coefficients)") == [(0,)]
    assert rows(engine, DECISIONS) == [(MANY, MANY)]
    assert pipeline.advance(engine, run_id).finished
    assert violations(engine) == []


@pytest.mark.models
def test_prompts_that_come_before_the_budget_is_spent_have_their_share_of_it(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = with_coefficients(engine, tmp_path, tiny_model)
    come = text("""
    INSERT INTO prompt (prompt_set_id, position, sha256, messages)
    SELECT prompt_set_id, 1000 + position, reverse(sha256), messages FROM prompt WHERE position <= 3
    """)
    with engine.begin() as conn:
        conn.execute(come)
    assert pipeline.advance(engine, run_id).new_jobs == 1, "a range of theirs"
    drain_router(Worker(engine, tmp_path))
    assert pipeline.advance(engine, run_id).new_jobs == 1
    drain_router(Worker(engine, tmp_path))
    assert rows(engine, DECISIONS) == [(MANY + 3, MANY + 3)]
    assert pipeline.advance(engine, run_id).finished
    assert violations(engine) == []
