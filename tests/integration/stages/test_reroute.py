"""Rerouting: a prompt whose answer is not good enough goes to the next teacher, until one is or none is worth it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import removal, reporting
from persyn.config import Export, Format, Layout
from persyn.exports.write import export_run, table
from persyn.jobs.operators import Filter, cancel
from persyn.stages import reroute, score
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker
from tests.integration.small_run import SmallRun

PROMPTS, CALIBRATED = 42, 12
TEACHERS = [{"name": name, "family": "f", "model": "m"} for name in "abc"]


def quality(teacher: str, n: int) -> float:
    """Teacher a fails on every third prompt, where b is right unless it is every seventh too; c is never right."""
    if teacher == "a":
        return float(n % 3 > 0)
    return float(teacher == "b" and n % 3 == 0 and n % 7 > 0)


class ReroutedRun(SmallRun):
    """A run of three teachers, of which everything is routed to `a` first."""

    def __init__(self, engine: Engine, home: Path, **changes: Any) -> None:
        self.home = home
        self.quality: Callable[[str, int], float] = quality
        changes = {
            "policy": "strong",
            "calibration": {"size": CALIBRATED},
            "teachers": TEACHERS,
            "alpha": 0.0,
        } | changes
        super().__init__(engine, PROMPTS, **changes)

    def score(self) -> None:
        with self.engine.begin() as conn:
            lease_id, claims = self.claim(conn, "score.quality")
            facts = {row.id: row for row in conn.execute(
                text("""SELECT g.id, p.position, t.name FROM generation g JOIN prompt p ON p.id = g.prompt_id
                        JOIN teacher t ON t.id = g.teacher_id"""))}  # fmt: skip
            measured = [
                score.Scored(
                    item, self.quality(facts[claim.generation_id].name, facts[claim.generation_id].position), {}
                )
                for claim, item in zip(claims, score.items(conn, claims), strict=True)
            ]
            score.store(conn, lease_id, measured)

    def route(self) -> None:
        drain_router(Worker(self.engine, self.home))

    def answer_all(self) -> None:
        for teacher in self.config.teachers:
            self.answer(teacher.name)

    def work(self) -> None:
        self.work_until("SELECT FROM run WHERE finished_at IS NOT NULL")

    def work_until(self, there: str) -> None:
        for _ in range(30):
            self.advance()
            if self.rows(there):
                return
            self.answer_all()
            self.score()
            self.route()
        pytest.fail(f"it does not get so far: {self.rows('SELECT kind, state, count(*) FROM job GROUP BY 1, 2')}")

    def attempts(self) -> dict[int, list[str]]:
        """The teachers of each routed prompt by its position, in order."""
        rows = self.rows("""
            SELECT p.position, array_agg(t.name ORDER BY d.attempt) AS teachers FROM routing_decision d
            JOIN prompt p ON p.id = d.prompt_id JOIN teacher t ON t.id = d.teacher_id
            WHERE d.basis <> 'measured' GROUP BY p.position""")
        return {row.position: row.teachers for row in rows}


@pytest.fixture
def build(engine: Engine, tmp_path: Path) -> Callable[..., ReroutedRun]:
    return lambda **changes: ReroutedRun(engine, tmp_path, **({"reroute": {}} | changes))


def expected(n: int) -> list[str]:
    return ["a"] if n % 3 else ["a", "b"]


def test_a_failed_prompt_goes_to_the_teacher_that_is_right_where_the_first_fails(
    build: Callable[..., ReroutedRun], tmp_path: Path
) -> None:
    run = build()
    run.work()
    assert run.attempts() == {n: expected(n) for n in run.attempts()}
    assert len(run.attempts()) == PROMPTS - CALIBRATED
    assert run.violations() == {}
    (numbers,) = run.rows("SELECT bar, threshold, prices FROM rerouting")
    assert (numbers.bar, numbers.prices) == (1.0, [1.0, 1.0, 1.0])
    further = run.rows("SELECT * FROM audit.decision WHERE attempt > 1")
    assert further
    assert {(row.basis, row.teacher, *row.failed_teachers, row.price) for row in further} == {
        ("rerouted", "b", "a", 1.0)
    }
    assert all(0.05 <= row.gain <= 1.0 for row in further)

    with run.engine.begin() as conn:  # in a transaction that is taken back
        assert removal.delete_run(conn, run.id) == []
        assert conn.execute(text("SELECT count(*) FROM rerouting")).scalar_one() == 0
        conn.rollback()

    # The export takes the answer that is right, and pairs it with the one that was not.
    manifest = export_run(run.engine, run.id, tmp_path / "out", Export(columns=["basis", "quality"]))
    exported = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    nobody = [n for n in range(PROMPTS) if n % 21 == 0]
    assert {row["external_id"] for row in exported} == {f"p{n}" for n in range(PROMPTS) if n not in nobody}
    assert {row["quality"] for row in exported} == {1.0}
    assert {row["teacher"] for row in exported if row["basis"] == "rerouted"} == {"b"}
    assert manifest.left_out == {"wrong": len(nobody)}
    assert manifest.missing == {}


def test_a_summary_counts_prompts_once_and_shows_quality_before_and_after(build: Callable[..., ReroutedRun]) -> None:
    run = build()
    run.work()
    with run.engine.connect() as conn:
        summary, status = reporting.summary(conn, run.id), reporting.status(conn, run.id)
    routed = run.attempts()
    again = sum(len(teachers) > 1 for teachers in routed.values())
    assert status.decided == PROMPTS
    assert [(one.teacher, one.rerouted) for one in summary.teachers] == [("a", 0), ("b", again), ("c", 0)]
    assert sum(one.prompts for one in summary.teachers) == PROMPTS
    assert summary.first is not None
    assert summary.first.quality == pytest.approx(sum(n % 3 > 0 for n in routed) / len(routed))
    assert summary.routed.quality == pytest.approx(sum(n % 21 > 0 for n in routed) / len(routed))
    assert summary.routed.prompts == len(routed)


def test_a_prompt_whose_job_died_goes_to_the_next_teacher_instead_of_missing(
    build: Callable[..., ReroutedRun], tmp_path: Path
) -> None:
    run = build()
    run.work_until("SELECT FROM job WHERE stage = 50")
    assert run.kill("teacher.a", "context_too_long", permanent=True, limit=5) == 5
    run.work()
    died = {row.position for row in run.rows(
        "SELECT p.position FROM job j JOIN prompt p ON p.id = j.prompt_id WHERE j.state = 'dead'")}  # fmt: skip
    assert {n: teachers for n, teachers in run.attempts().items() if n in died} == {n: ["a", "b"] for n in died}
    assert run.violations() == {}
    assert export_run(run.engine, run.id, tmp_path / "out").missing == {}
    assert run.state()[0] == "finished"


def test_a_cancelled_answer_is_nobodys_failure(build: Callable[..., ReroutedRun]) -> None:
    run = build()
    run.work_until("SELECT FROM job WHERE stage = 50")
    assert cancel(run.engine, Filter(run_id=run.id)) > 0
    run.work()
    assert set(map(len, run.attempts().values())) == {1}


def test_a_job_cut_off_before_its_commit_leaves_no_decision_and_the_next_attempt_makes_all(
    build: Callable[..., ReroutedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build()
    whole = reroute.route.write_with_end

    def cut_off(conn: Any, work: Any, decisions: Any) -> int:
        whole(conn, work, decisions)
        raise KeyboardInterrupt

    monkeypatch.setattr(reroute.route, "write_with_end", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run.work()
    assert set(map(len, run.attempts().values())) == {1}
    assert run.rows("SELECT FROM rerouting") == []
    monkeypatch.undo()
    with run.engine.begin() as conn:  # its wait before the next attempt is over
        conn.execute(text("UPDATE job SET not_before = clock_timestamp() WHERE kind = 'reroute' AND state = 'ready'"))
    run.work()
    assert run.attempts() == {n: expected(n) for n in run.attempts()}
    assert run.violations() == {}


def test_answers_that_come_late_reroute_their_prompts_once(build: Callable[..., ReroutedRun]) -> None:
    """A job that looks while answers are open takes those that are there, and a later one the rest."""
    run = build()
    run.work_until("SELECT FROM job WHERE stage = 50")
    run.answer("a", limit=10)
    run.advance()
    run.score()
    with run.engine.begin() as conn:
        assert reroute.enqueue(conn, run.id, answering=False) == 1
    run.route()
    early = {n for n, teachers in run.attempts().items() if len(teachers) > 1}
    assert 0 < len(early) < 10
    run.work()
    assert run.attempts() == {n: expected(n) for n in run.attempts()}
    assert run.violations() == {}


def test_a_budget_goes_where_it_helps_most(build: Callable[..., ReroutedRun]) -> None:
    """Four prompts may be asked again, whatever the sample made of the budget."""
    run = build(reroute={"budget": PROMPTS + 4.0, "per": "run"})
    run.work()
    rows = run.rows("SELECT count(*) FILTER (WHERE attempt > 1) AS more, count(*) AS every FROM routing_decision")
    assert rows == [(4, PROMPTS + 4)]
    assert run.violations() == {}


def test_an_answer_below_a_bar_of_grades_is_kept_or_dropped_as_the_run_says(
    build: Callable[..., ReroutedRun], tmp_path: Path
) -> None:
    grades = {"scorers": {"quality": {"kind": "reward_model", "model": "m"}}}
    run = build(reroute={"bar": 0.8, "below_bar": "drop"}, **grades)
    run.quality = lambda teacher, n: {"a": 0.7, "b": 0.9 if n % 2 else 0.4, "c": 0.1}[teacher]
    run.work()
    routed = run.attempts()
    assert all(len(teachers) > 1 for teachers in routed.values())  # a is never good enough
    assert run.violations() == {}
    manifest = export_run(run.engine, run.id, tmp_path / "drop")
    assert manifest.rows == sum(n % 2 for n in range(PROMPTS))
    assert manifest.left_out == {"below_bar": PROMPTS // 2}
    assert export_run(run.engine, run.id, tmp_path / "keep", Export(keep=["below_bar"])).rows == PROMPTS


@pytest.mark.parametrize("layout", ["prompt_completion", "messages", "llamafactory", "axolotl", "openai"])
def test_answers_below_the_bar_go_into_files_of_their_own(
    build: Callable[..., ReroutedRun], tmp_path: Path, layout: Layout
) -> None:
    grades = {"scorers": {"quality": {"kind": "reward_model", "model": "m"}}}
    run = build(reroute={"bar": 0.8, "below_bar": "separate"}, **grades)
    run.quality = lambda teacher, n: {"a": 0.7, "b": 0.9 if n % 2 else 0.4, "c": 0.1}[teacher]
    run.work()
    below, good = PROMPTS // 2, sum(n % 2 for n in range(PROMPTS))
    formats: list[Format] = ["jsonl"] if layout == "openai" else ["jsonl", "parquet"]
    manifest = export_run(run.engine, run.id, tmp_path, Export(layout=layout, formats=formats))
    assert (manifest.rows, manifest.rows_below_bar, manifest.left_out, manifest.prompts) == (good, below, {}, PROMPTS)
    assert manifest.outcome().startswith(f"{good} of {PROMPTS} rows (in files of their own: {below} below_bar")
    assert manifest.outcome() in (tmp_path / "README.md").read_text()
    files = {file.name: file.rows for file in manifest.files}
    assert files == {f"{stem}.{kind}": n for stem, n in (("train", good), ("below_bar", below)) for kind in formats}
    lines = (tmp_path / "below_bar.jsonl").read_text().splitlines()
    assert len(lines) == below
    assert json.loads(lines[0]).keys() == json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0]).keys()
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": good}
    if layout in ("llamafactory", "axolotl"):
        name = "dataset_info.json" if layout == "llamafactory" else "axolotl.yaml"
        assert "below_bar" not in (tmp_path / name).read_text()
    assert table(run.engine, run.id).num_rows == good
    kept = export_run(run.engine, run.id, tmp_path, Export(keep=["below_bar"]))
    assert (kept.rows, kept.rows_below_bar, (tmp_path / "below_bar.jsonl").exists()) == (PROMPTS, 0, False)


def test_a_dead_reroute_job_fails_the_run_with_its_reason(build: Callable[..., ReroutedRun]) -> None:
    run = build()
    run.work_until("SELECT FROM job WHERE kind = 'reroute'")
    assert run.kill("router", "no_quality", permanent=True) == 1
    assert run.advance().finished
    assert run.state() == ("failed", "the job 'reroute' is dead: no_quality: it says no")
