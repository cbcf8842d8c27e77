"""Several answers of one teacher to a routed prompt: each is asked for once, all are scored, the best is exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persyn import reporting, runs
from persyn.config import Export, Sampling, parse_run
from persyn.exports.write import export_run
from persyn.preflight import estimate
from persyn.stages import generate, pipeline, route
from persyn.states import Stage

PROMPTS, CALIBRATION, SAMPLES = 18, 6, 3
ROUTED = PROMPTS - CALIBRATION
DRAWN = {"samples": SAMPLES, "sampling": {"temperature": 1.0, "max_tokens": 64}}


def aim(site: Any, run_id: int) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(site.engine, run_id)


def prepare(site: Any) -> int:
    site.changes = dict.fromkeys(range(site.TEACHERS), DRAWN)
    return int(site.prepare(PROMPTS, CALIBRATION))


def variant(site: Any, name: str, samples: int) -> int:
    raw = json.loads(site.config_file.read_text())
    teachers = [teacher | {"samples": samples} for teacher in raw["teachers"]]
    with site.engine.begin() as conn:
        return runs.create(conn, parse_run(raw | {"name": f"{name}-{site.tag}", "teachers": teachers}, source="test"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_a_killed_worker_loses_and_doubles_none_of_several_answers_and_the_best_is_exported(site: Any) -> None:
    run_id = prepare(site)
    aim(site, run_id)
    worker = site.start_worker()
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE stage = 50") > 0)
    site.configure_stub(latency_s=3.0)
    further = "SELECT count(*) FROM job WHERE sample_index > 0 AND state = 'leased'"
    site.eventually(lambda: site.scalar(further) > 0)
    worker.kill()
    worker.wait()
    assert site.scalar(further) > 0, "the worker died with no further answer in hand, so this test has shown nothing"

    site.configure_stub(latency_s=0.0)
    with site.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    site.start_worker()
    site.eventually(site.finished)

    assert site.violations() == {}
    assert site.rows("SELECT DISTINCT state FROM job") == [("done",)]
    made = CALIBRATION * site.TEACHERS + ROUTED * SAMPLES
    assert site.scalar("SELECT count(*) FROM generation") == made
    assert site.scalar("SELECT count(*) FROM score") == 2 * made
    each = site.rows("""
        SELECT d.basis, d.samples, count(*), count(DISTINCT g.seed), min(g.sample_index), max(g.sample_index)
        FROM routing_decision d JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id
        GROUP BY d.basis, d.samples, d.prompt_id""")
    assert set(each) == {("measured", 1, 1, 1, 0, 0), ("router", SAMPLES, SAMPLES, SAMPLES, 0, SAMPLES - 1)}

    # The stub's answers are all wrong, so that learnability decides.
    best = {row.generation_id for row in site.rows("""
        SELECT DISTINCT ON (d.prompt_id) a.generation_id FROM routing_decision d
        JOIN audit.answer a ON a.run_id = d.run_id AND a.prompt_id = d.prompt_id AND a.teacher_id = d.teacher_id
        WHERE a.sample_index < d.samples ORDER BY d.prompt_id, a.learnability DESC""")}  # fmt: skip
    manifest = export_run(site.engine, run_id, site.home / "out")
    exported = rows(site.home / "out")
    assert {row["generation_id"] for row in exported} == best
    assert len(exported) == PROMPTS
    assert any(row.sample_index for row in site.rows("SELECT * FROM generation WHERE id = ANY(:b)", b=[*best]))
    assert manifest.passed_over == ROUTED * (SAMPLES - 1)
    assert f"best of several: {manifest.passed_over} further answers passed over" in manifest.outcome()

    # Another run asks for fewer, and has them all.
    second = variant(site, "fewer", SAMPLES - 1)
    aim(site, second)
    site.follow(second)
    assert site.rows("SELECT DISTINCT kind FROM job WHERE run_id = :id ORDER BY 1", id=second) == [
        ("reroute",), ("route",), ("train_router",),
    ]  # fmt: skip
    assert export_run(site.engine, second, site.home / "second").passed_over == ROUTED * (SAMPLES - 2)
    assert site.violations() == {}


@pytest.fixture
def asked(build_run: Callable[..., Any]) -> Any:
    """A run of eight prompts, four of them routed, whose first teacher is asked for three answers to each of those."""
    drawn = {"family": "f", "model": "m", "samples": SAMPLES, "sampling": {"temperature": 1.0}}
    run = build_run(teachers=[drawn | {"name": "a"}, drawn | {"name": "b"}], calibration={"size": 4})
    for _ in range(12):
        run.advance()
        if run.rows("SELECT FROM job WHERE stage = 50"):
            return run
        run.answer("a")
        run.answer("b")
        run.score()
        if run.rows("SELECT FROM job WHERE kind = 'route' AND state = 'ready'"):
            with run.engine.begin() as conn:  # as `route` decides on calibration prompts
                conn.execute(
                    text("""
                    INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)
                    SELECT c.run_id, c.prompt_id, 'random', 'measured', rt.teacher_id, 1
                    FROM calibration_prompt c JOIN run_teacher rt ON rt.run_id = c.run_id AND rt.position = 1""")
                )
            run.route()
    pytest.fail("it does not get so far")


def measure(run: Any) -> None:
    """Of the routed prompts' answers the second is right; all differ."""
    with run.engine.begin() as conn:
        conn.execute(text("UPDATE generation SET text = 'answer ' || id"))
        conn.execute(
            text("""
            UPDATE score x SET value = CAST(g.sample_index = 1 AS int)
            FROM generation g, job j, scorer s WHERE g.id = x.generation_id AND j.id = g.job_id AND j.stage = 50
             AND s.id = x.scorer_id AND s.kind = 'quality'""")
        )


def test_each_answer_is_one_job_and_a_further_look_adds_none(asked: Any) -> None:
    jobs = "SELECT prompt_id, array_agg(sample_index ORDER BY id) FROM job WHERE stage = 50 GROUP BY 1"
    assert [row[1] for row in asked.rows(jobs)] == [[0, 1, 2]] * 4
    with asked.engine.begin() as conn:
        assert generate.enqueue(conn, asked.id) == 0
    asked.work()
    assert asked.state()[0] == "finished"
    assert asked.violations() == {}
    assert asked.rows("SELECT count(*) FROM generation") == [(4 * 2 + 4 * SAMPLES,)]


@pytest.mark.parametrize(("given", "fixed"), [(5, True), ("prompt", False)])
def test_the_seeds_of_a_prompts_answers_follow_each_other(asked: Any, given: Any, fixed: bool) -> None:
    with asked.engine.begin() as conn:
        _, claims = asked.claim(conn, "teacher.a", SAMPLES)
        seeds = [request.seed for request in generate.requests(conn, claims, Sampling(temperature=1, seed=given))]
        own = conn.execute(text("SELECT sha256 FROM prompt WHERE id = :id"), {"id": claims[0].prompt_id}).scalar_one()
    first = 5 if fixed else generate.seed(own)
    assert seeds == [first, first + 1, first + 2]


def test_a_prompt_is_missing_only_where_all_its_answers_are(asked: Any, tmp_path: Path) -> None:
    asked.kill("teacher.a", "refused_content", permanent=True, limit=1)
    asked.answer("a", limit=SAMPLES - 1)
    asked.kill("teacher.a", "bad_request", permanent=True, limit=SAMPLES)
    asked.work()
    manifest = export_run(asked.engine, asked.id, tmp_path)
    assert (manifest.rows, manifest.missing) == (7, {"bad_request": 1})
    with asked.engine.connect() as conn:
        outcome = reporting.outcome(conn, asked.id)
    assert (outcome.answered, outcome.missing) == (7, {"bad_request": 1})
    ids = [row["generation_id"] for row in rows(tmp_path)]
    samples = asked.rows("SELECT sample_index FROM generation WHERE id = ANY(:ids) ORDER BY 1", ids=ids)
    assert [row.sample_index for row in samples] == [0] * 6 + [1]  # all are equally good, and one first answer is none
    assert asked.violations() == {}


def test_summary_and_trail_tell_the_best_and_what_it_is_better_than(asked: Any, tmp_path: Path) -> None:
    asked.work()
    measure(asked)
    export_run(asked.engine, asked.id, tmp_path)
    with asked.engine.connect() as conn:
        summary = reporting.summary(conn, asked.id)
        prompt = conn.execute(text("SELECT max(prompt_id) FROM routing_decision WHERE samples > 1")).scalar_one()
        trail = reporting.prompt_trail(conn, str(asked.id), str(prompt))
    assert (summary.routed.prompts, summary.routed.quality) == (4, 1.0)
    assert summary.first is not None
    assert (summary.first.prompts, summary.first.quality) == (4, 0.0)
    assert [(sample.sample_index, sample.best, sample.flaws) for sample in trail.samples] == [
        (0, False, ["wrong"]), (1, True, []), (2, False, ["wrong"]),
    ]  # fmt: skip
    (step,) = [step for step in trail.steps if step.what == "exported"]
    assert step.detail["best_of"] == SAMPLES
    assert sorted(step.detail.get("sample_index", 0) for step in trail.steps if step.what == "answered") == [0, 1, 2]
    exported = {row["prompt_id"]: row["generation_id"] for row in rows(tmp_path)}
    assert exported[prompt] == next(sample.generation_id for sample in trail.samples if sample.best)


def test_several_answers_of_one_teacher_make_a_pair(asked: Any, tmp_path: Path) -> None:
    asked.work()
    measure(asked)
    manifest = export_run(asked.engine, asked.id, tmp_path, Export(layout="preference"))
    pairs = rows(tmp_path)
    assert {(row["chosen_teacher"], row["rejected_teacher"]) for row in pairs} == {("a", "a")}
    chosen = asked.rows("SELECT sample_index FROM generation WHERE id = ANY(:ids)",
                        ids=[row["chosen_generation_id"] for row in pairs])  # fmt: skip
    assert [row.sample_index for row in chosen] == [1] * 4
    assert (manifest.rows, manifest.prompts, manifest.left_out) == (4, 8, {"no_pair": 4})  # calibration: all are alike


def test_rewards_of_several_answers_stand_in_their_column(asked: Any, tmp_path: Path) -> None:
    asked.work()
    measure(asked)
    export_run(asked.engine, asked.id, tmp_path, Export(columns=["reward", "quality"]))
    routed = [row for row in rows(tmp_path) if row["teacher"] == "a"]
    assert [(row["quality"], row["reward"]) for row in routed] == [(1.0, pytest.approx(0.6 + 0.4 * 0.5))] * 4


def test_a_token_budget_counts_each_answer(asked: Any) -> None:
    with asked.engine.connect() as conn:
        usage = route.usage(conn, asked.id, asked.config.teachers)
    assert [(one.prompt_tokens, one.completion_tokens) for one in usage] == [(SAMPLES, SAMPLES)] * 2


def test_a_run_that_asks_for_more_finds_the_first_ones(asked: Any) -> None:
    asked.work()
    more = [teacher.model_copy(update={"samples": 4}) for teacher in asked.config.teachers]
    config = asked.config.model_copy(update={"name": "more", "teachers": more})
    second = asked.create(config)
    with asked.engine.connect() as conn:
        conn.execute(text("INSERT INTO calibration_prompt SELECT :id, prompt_id, split FROM calibration_prompt"),
                     {"id": second})  # fmt: skip
        assert estimate.sizes(conn, second, config).others == {"a": pytest.approx(3 / 4), "b": 0.0}
