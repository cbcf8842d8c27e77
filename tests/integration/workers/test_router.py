"""Deciding by each policy from measured answers, and what becomes of a stage's job that cannot be done."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs, runs
from persyn.config import parse_run
from persyn.jobs.wake_ups import ROUTER
from persyn.stages import pipeline
from persyn.states import Stage
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker

ROOT = Path(__file__).resolve().parents[3]
PROMPTS, CALIBRATED = 12, 6
# Quality of teachers a, b, c on every calibration prompt: b is the strongest.
QUALITY = (0.0, 1.0, 0.5)
LEARNABILITY = (-0.1, -2.0, -0.2)


def scored_run(engine: Engine, prompts: int = PROMPTS, **changes: Any) -> int:
    """A run whose calibration answers exist and are scored, as workers would have left them."""
    families = {"a": "f", "b": "g", "c": "f"}
    teachers = [{"name": name, "family": families[name], "params_b": 1, "model": "m"} for name in "abc"]
    student = {"name": "s", "model": "m", "family": "f"}
    raw = {"name": "r", "prompts": "set", "student": student, "teachers": teachers}
    settings = {"alpha": 0.0, "calibration": {"size": CALIBRATED, "validation": 0.34}}
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO prompt_set (name) VALUES ('set')"))
        conn.execute(
            text("""
            INSERT INTO prompt (prompt_set_id, position, sha256, messages, reference_answer)
            SELECT s.id, n, md5(n::text),
                   jsonb_build_array(jsonb_build_object('role', 'user', 'content', md5(n::text))), '1'
            FROM prompt_set s, generate_series(1, :count) n
            """),
            {"count": prompts},
        )
        run_id = runs.create(conn, parse_run(raw | settings | changes, source="test"))
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(engine, run_id)
    for position, name in enumerate("abc"):
        answer(engine, f"teacher.{name}")
        with engine.begin() as conn:
            runs.aim(conn, run_id, Stage.SCORE)
        pipeline.advance(engine, run_id)
        score(engine, "score.quality", QUALITY[position])
        score(engine, "score.learnability", LEARNABILITY[position])
    return run_id


def claimed(conn: Any, queue: str) -> tuple[int, list[int]]:
    lease = jobs.open_lease(conn, worker="test", host="test", queue=queue)
    return lease, [claim.id for claim in jobs.claim(conn, lease, queue, 64)]


def answer(engine: Engine, queue: str) -> None:
    with engine.begin() as conn:
        lease, ids = claimed(conn, queue)
        jobs.complete(conn, lease, ids)
        conn.execute(
            text("""
            INSERT INTO generation (prompt_id, teacher_id, text, finish_reason, prompt_tokens, completion_tokens, seed,
                                    latency_s, job_id, lease_id)
            SELECT prompt_id, teacher_id, 'x', 'stop', 1, 1, 0, 0, id, :lease FROM job WHERE id = ANY(:ids)
            """),
            {"lease": lease, "ids": ids},
        )


def score(engine: Engine, queue: str, value: float) -> None:
    with engine.begin() as conn:
        lease, ids = claimed(conn, queue)
        jobs.complete(conn, lease, ids)
        conn.execute(
            text("""
            INSERT INTO score (generation_id, scorer_id, value, job_id, lease_id)
            SELECT generation_id, scorer_id, :value, id, :lease FROM job WHERE id = ANY(:ids)
            """),
            {"lease": lease, "ids": ids, "value": value},
        )


def route(engine: Engine, home: Path, run_id: int) -> dict[tuple[str, str], int]:
    """Route the run; how many decisions name which teacher, and on what basis."""
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.ROUTE)
    pipeline.advance(engine, run_id)
    drain_router(Worker(engine, home))
    while pipeline.advance(engine, run_id).new_jobs:  # a decision about the whole set comes after its ranges
        drain_router(Worker(engine, home))
    with engine.connect() as conn:
        rows = conn.execute(
            text("""
            SELECT t.name, d.basis, count(*) AS times FROM routing_decision d JOIN teacher t ON t.id = d.teacher_id
            GROUP BY t.name, d.basis
            """)
        )
        return {(row.name, row.basis): row.times for row in rows}


def violations(engine: Engine) -> list[str]:
    with engine.connect() as conn:
        return [row.invariant for row in conn.execute(text("SELECT * FROM audit.integrity WHERE violations <> 0"))]


@pytest.mark.parametrize(
    ("calibration_answers", "expected"),
    [
        # the best measured answer, and the strongest teacher for the rest
        ("best", {("b", "measured"): CALIBRATED, ("b", "static"): PROMPTS - CALIBRATED}),
        # the policy decides for calibration prompts as for any other
        ("routed", {("b", "static"): PROMPTS}),
        # calibration prompts are not in the set at all
        ("exclude", {("b", "static"): PROMPTS - CALIBRATED}),
    ],
)
def test_calibration_prompts_get_what_the_run_says(
    engine: Engine, tmp_path: Path, calibration_answers: str, expected: dict[tuple[str, str], int]
) -> None:
    run_id = scored_run(engine, policy="strong", calibration_answers=calibration_answers)
    assert route(engine, tmp_path, run_id) == expected
    assert violations(engine) == []


def test_a_decision_says_how_many_answers_its_teacher_gives(engine: Engine, tmp_path: Path) -> None:
    """Teacher b gives three to a prompt that is routed to it, and none again to one that has its best answer."""
    several = {"b": {"samples": 3, "sampling": {"temperature": 1}}}
    teachers = [{"name": name, "family": "f", "model": "m"} | several.get(name, {}) for name in "abc"]
    run_id = scored_run(engine, policy="strong", teachers=teachers)
    route(engine, tmp_path, run_id)
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT basis, samples, count(*) FROM routing_decision GROUP BY 1, 2 ORDER BY 1")
        ).all()
    assert [tuple(row) for row in rows] == [("measured", 1, CALIBRATED), ("static", 3, PROMPTS - CALIBRATED)]
    assert violations(engine) == []


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        # teacher a is of the student's family, and c too: c is the stronger of the two
        ("family_strong", {}, {("c", "static"): PROMPTS}),
        # α-free: quality 0, 1, 0.5 over 1 + β·loss, the losses 0.1, 2 and 0.2
        ("car", {"beta": 3.0}, {("c", "static"): PROMPTS}),
        ("car", {"beta": 0.0}, {("b", "static"): PROMPTS}),
        ("mix", {"strong_share": 1.0}, {("b", "random"): PROMPTS}),
        ("mix", {"strong_share": 0.0}, {("a", "random"): PROMPTS}),
        ("mix", {"strong_share": 0.0, "weak": "c"}, {("c", "random"): PROMPTS}),
    ],
)
def test_a_baseline_decides_by_calibration_alone_and_trains_no_router(
    engine: Engine, tmp_path: Path, policy: str, options: dict[str, Any], expected: dict[tuple[str, str], int]
) -> None:
    run_id = scored_run(engine, policy=policy, policy_options=options, calibration_answers="routed")
    assert route(engine, tmp_path, run_id) == expected
    assert violations(engine) == []
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM job WHERE kind = 'train_router'")).scalar_one() == 0
        assert conn.execute(text("SELECT count(*) FROM job WHERE kind = 'generate'")).scalar_one() == 3 * CALIBRATED


def test_mix_gives_both_teachers_their_part(engine: Engine, tmp_path: Path) -> None:
    options = {"strong_share": 0.5}
    run_id = scored_run(engine, policy="mix", policy_options=options, calibration_answers="routed")
    assert route(engine, tmp_path, run_id).keys() == {("a", "random"), ("b", "random")}


def test_a_negative_quality_ends_car_with_its_reason(engine: Engine, tmp_path: Path) -> None:
    run_id = scored_run(engine, policy="car")
    with engine.begin() as conn:
        conn.execute(text("UPDATE score SET value = -1 WHERE value = 0"))
    assert {basis for _, basis in route(engine, tmp_path, run_id)} == {"measured"}
    assert ended(engine) == ("dead", "negative_quality")


def test_the_oracle_takes_the_best_measured_answer_of_every_prompt(engine: Engine, tmp_path: Path) -> None:
    run_id = scored_run(engine, policy="oracle", calibration={"size": PROMPTS, "validation": 0.34})
    assert route(engine, tmp_path, run_id) == {("b", "measured"): PROMPTS}
    with engine.connect() as conn:
        kept = conn.execute(text("SELECT DISTINCT coefficients, margin FROM routing_decision")).all()
    assert [tuple(row) for row in kept] == [([0.0, 1.0, 0.5], 0.5)]
    assert violations(engine) == []


def test_the_oracle_without_every_answer_ends_with_its_reason_and_decides_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    run_id = scored_run(engine, policy="oracle", calibration={"size": PROMPTS, "validation": 0.34})
    with engine.begin() as conn:  # they came after the run was made
        conn.execute(
            text("""
            INSERT INTO prompt (prompt_set_id, position, sha256, messages)
            SELECT s.id, n, md5(n::text), '[]' FROM prompt_set s, generate_series(101, 106) n
            """)
        )
    assert route(engine, tmp_path, run_id) == {}
    assert ended(engine) == ("dead", "answers_missing")
    with engine.connect() as conn:
        detail = conn.execute(text("SELECT detail FROM job_event WHERE event = 'died'")).scalar_one()
    told = f"the policy oracle needs measured answers to every prompt, and 6 of {PROMPTS + 6} have none;"
    assert detail.startswith(told)
    assert pipeline.advance(engine, run_id).finished


def ended(engine: Engine) -> tuple[str, str]:
    with engine.connect() as conn:
        row = conn.execute(text("SELECT state, error_code FROM job WHERE kind = 'route' AND state <> 'done'")).one()
    return row.state, row.error_code


def test_random_decides_for_every_prompt_and_again_the_same(engine: Engine, tmp_path: Path) -> None:
    run_id = scored_run(engine, policy="random", calibration_answers="routed")
    first = route(engine, tmp_path, run_id)
    assert sum(first.values()) == PROMPTS
    assert {basis for _, basis in first} == {"random"}
    chosen = text("SELECT prompt_id, teacher_id FROM routing_decision ORDER BY prompt_id")
    with engine.begin() as conn:
        before = conn.execute(chosen).all()
        conn.execute(text("DELETE FROM routing_decision WHERE prompt_id % 2 = 0"))
        # As if the worker had been killed half-way through: the job is tried again and decides only what is missing.
        job = conn.execute(text("SELECT id FROM job WHERE kind = 'route'")).scalar_one()
        conn.execute(
            text("UPDATE job SET state = 'ready', finished_at = NULL, attempt = 0 WHERE id = :id"), {"id": job}
        )
    drain_router(Worker(engine, tmp_path))
    with engine.connect() as conn:
        assert conn.execute(chosen).all() == before


def test_each_stage_waits_until_the_run_aims_at_it(engine: Engine) -> None:
    run_id = scored_run(engine)
    kinds = text("SELECT kind FROM job WHERE run_id = :id AND kind IN ('train_router', 'route')")

    def stages() -> list[str]:
        with engine.connect() as conn:
            return [row.kind for row in conn.execute(kinds, {"id": run_id})]

    assert pipeline.advance(engine, run_id).finished
    assert stages() == []
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.TRAIN)
    assert not pipeline.advance(engine, run_id).finished
    assert stages() == ["train_router"]
    assert pipeline.advance(engine, run_id).new_jobs == 0


def test_a_host_that_lacks_the_backbone_leaves_that_run_to_others_and_does_the_next_one(
    engine: Engine, tmp_path: Path
) -> None:
    run_id = scored_run(engine, router={"backbone": "/no/such/folder"})
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(engine, run_id)
    with engine.begin() as conn:
        teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in "ab"]
        other = runs.create(conn, parse_run({
            "name": "other", "prompts": "set", "student": {"name": "s", "model": "m"}, "teachers": teachers,
            "policy": "random", "calibration_answers": "routed", "calibration": {"size": CALIBRATED},
        }, source="test"))  # fmt: skip
        jobs.enqueue_stage(conn, other, "route", ROUTER, Stage.ROUTE)
    worker = Worker(engine, tmp_path)
    drain_router(worker)
    [lack] = worker.fitness.report(time.monotonic())
    assert (lack.queue, lack.reason[:32]) == (ROUTER, "/no/such/folder: no such folder.")
    with engine.connect() as conn:
        found = conn.execute(text("SELECT kind, state, attempt FROM job WHERE queue = 'router' ORDER BY kind")).all()
    assert [tuple(job) for job in found] == [("route", "done", 1), ("train_router", "ready", 0)]
    assert worker.take_queue() is None, "what is left is not for this host"
    assert Worker(engine, tmp_path).take_queue() == ROUTER
    assert violations(engine) == []


@pytest.mark.models
def test_an_error_that_nobody_foresaw_is_written_into_the_row(engine: Engine, tmp_path: Path) -> None:
    run_id = scored_run(engine)
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.TRAIN)
    pipeline.advance(engine, run_id)
    (tmp_path / "routers").write_text("a file where the routers' folder belongs")
    drain_router(Worker(engine, tmp_path))
    with engine.connect() as conn:
        state, code = conn.execute(text("SELECT state, error_code FROM job WHERE kind = 'train_router'")).one()
    assert (state, code) == ("ready", "internal_error")


def budgeted_run(engine: Engine, home: Path, model: str, budget: dict[str, Any], **changes: Any) -> int:
    """A run whose router is trained, on quality alone: it prefers b to c to a on every prompt."""
    router = {"backbone": model, "epochs": 1, "max_length": 64}
    options = {"policy": "budgeted", "policy_options": {"budget": budget}, "router": router}
    run_id = scored_run(engine, **(options | changes))
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.TRAIN)
    pipeline.advance(engine, run_id)
    drain_router(Worker(engine, home))
    return run_id


def test_a_budget_is_spent_on_the_best_teacher_and_the_next_one_takes_the_rest(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = budgeted_run(engine, tmp_path, tiny_model, {"b": {"share": 0.34}, "c": {"tokens": 3}})
    # 6 prompts are routed: b may take 2 of them, and c 3 as each of its answers had one token
    assert route(engine, tmp_path, run_id) == {
        ("b", "measured"): CALIBRATED, ("b", "budget"): 2, ("c", "budget"): 3, ("a", "budget"): 1,
    }  # fmt: skip
    assert violations(engine) == []
    with engine.connect() as conn:
        signs = conn.execute(
            text("SELECT t.name, d.margin > 0 AS ahead FROM routing_decision d JOIN teacher t ON t.id = d.teacher_id"
                 " WHERE d.basis = 'budget'")
        ).all()  # fmt: skip
        near = conn.execute(text("SELECT neighbour_ids FROM routing_decision WHERE basis = 'budget'")).scalars().all()
        taught = conn.execute(text("SELECT prompt_id FROM calibration_prompt WHERE split = 'train'")).scalars().all()
    assert {(row.name, row.ahead) for row in signs} == {("b", True), ("c", False), ("a", False)}
    assert all(sorted(ids) == sorted(taught) for ids in near)  # fewer than five, so all of them, in their order
    assert len({tuple(ids) for ids in near}) > 1


def test_budgets_that_cannot_take_every_prompt_end_the_job_with_their_sentence(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    run_id = budgeted_run(engine, tmp_path, tiny_model, {name: {"tokens": 1} for name in "abc"})
    assert {basis for _, basis in route(engine, tmp_path, run_id)} == {"measured"}
    assert ended(engine) == ("dead", "infeasible_budget")
    with engine.connect() as conn:
        detail = conn.execute(text("SELECT detail FROM job_event WHERE event = 'died'")).scalar_one()
    assert detail == (
        "policy_options.budget: the budgets allow 3 prompts in all (a 1, b 1, c 1), but 6 must be routed."
        " Raise a budget, or leave one teacher without."
    )


def test_without_a_binding_budget_the_decisions_are_persyns(engine: Engine, tmp_path: Path, tiny_model: str) -> None:
    run_id = budgeted_run(engine, tmp_path, tiny_model, {"a": {"share": 0.5}}, calibration_answers="routed")
    route(engine, tmp_path, run_id)
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT coefficients, teacher_id, margin FROM routing_decision")).all()
        teachers = conn.execute(text("SELECT teacher_id FROM run_teacher ORDER BY position")).scalars().all()
    assert len(rows) == PROMPTS
    for row in rows:
        assert row.teacher_id == teachers[max(range(3), key=lambda place: row.coefficients[place])]
        assert row.margin > 0


def test_a_trained_backbones_checkpoint_goes_once_its_router_is_stored_and_not_before(
    engine: Engine, tmp_path: Path, tiny_model: str
) -> None:
    router = {"backbone": tiny_model, "epochs": 1, "max_length": 64, "freeze_backbone": False}
    run_id = scored_run(engine, router=router)
    with engine.begin() as conn:
        runs.aim(conn, run_id, Stage.TRAIN)
        conn.exec_driver_sql("ALTER TABLE router ADD CONSTRAINT full_disk CHECK (false)")
    pipeline.advance(engine, run_id)
    drain_router(Worker(engine, tmp_path))
    assert len([*tmp_path.glob("routers/*/*.checkpoint")]) == 1, "the next attempt needs it"
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE router DROP CONSTRAINT full_disk")
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE queue = :queue"), {"queue": ROUTER})
    drain_router(Worker(engine, tmp_path))
    with engine.connect() as conn:
        [sha256] = conn.execute(text("SELECT artifact_sha256 FROM router")).scalars()
    assert [*tmp_path.glob("routers/*/*.checkpoint")] == []
    assert {file.name for file in (tmp_path / "routers" / sha256).iterdir()} == {"router.json", "weights.safetensors"}


STALL = """
CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.basis = 'budget' AND (SELECT count(*) FROM routing_decision WHERE basis = 'budget') >= 3 THEN
        PERFORM pg_sleep(600);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stall BEFORE INSERT ON routing_decision FOR EACH ROW EXECUTE FUNCTION stall();
"""
WORKER = """
import sys
from pathlib import Path
from persyn.db import session
from persyn.workers.worker import Worker
from persyn.workers.router import drain_router
drain_router(Worker(session.connect(sys.argv[1]), Path(sys.argv[2])))
"""


def test_a_worker_killed_half_way_leaves_no_decision_and_the_next_one_makes_them_all(
    engine: Engine, database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    run_id = budgeted_run(engine, tmp_path, tiny_model, {"b": {"share": 0.34}})
    with engine.begin() as conn:
        conn.exec_driver_sql(STALL)
        runs.aim(conn, run_id, Stage.ROUTE)
    pipeline.advance(engine, run_id)
    drain_router(Worker(engine, tmp_path))
    assert pipeline.advance(engine, run_id).new_jobs == 1
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen([sys.executable, "-c", WORKER, database_url, str(tmp_path)], cwd=ROOT, env=environment)
    sleeping = text("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        while (pid := conn.execute(sleeping).scalar()) is None:
            assert worker.poll() is None
            time.sleep(0.05)
        worker.kill()
        worker.wait()
        conn.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        assert conn.execute(text("SELECT count(*) FROM routing_decision WHERE basis = 'budget'")).scalar_one() == 0
        assert conn.execute(text("SELECT count(*) FROM routing_coefficients")).scalar_one() == PROMPTS - CALIBRATED
        conn.exec_driver_sql("DROP TRIGGER stall ON routing_decision")
        conn.execute(text("UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL"))
    with engine.begin() as conn:
        assert jobs.reap(conn) == 1
    assert route(engine, tmp_path, run_id) == {
        ("b", "measured"): CALIBRATED, ("b", "budget"): 2, ("c", "budget"): PROMPTS - CALIBRATED - 2,
    }  # fmt: skip
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM routing_coefficients")).scalar_one() == 0
    assert violations(engine) == []
