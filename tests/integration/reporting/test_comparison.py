"""Policies side by side: what is read from a small world that stands in the tables as workers would leave it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from persyn import jobs, runs
from persyn.cli import context, main
from persyn.config import parse_run
from persyn.driving import examining
from persyn.errors import ConfigError, PersynError
from persyn.imports.prompts import import_prompts
from persyn.reporting import comparison, verdict
from persyn.stages import generate, pipeline, score
from persyn.states import Stage

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

PROBLEMS = 40
TEACHERS = [
    {"name": name, "model": "m", "endpoint": {"url": "http://127.0.0.1:1/v1", "price": {"input": 1, "output": 2}}}
    for name in "ab"
]
MODEL = """
INSERT INTO student_model (key_sha256, student_id, base_sha256, rows_sha256, hyperparameters, seed, dtype, rows,
                           left_out, tokens, steps, seconds, losses, final_loss, artifact_place, artifact_path,
                           artifact_sha256, code_version, trained_with, job_id, lease_id)
SELECT encode(sha256(CAST(:name AS bytea)), 'hex'), r.student_id, :sha, :sha, '{}', :seed, 'float32', 8, '{}', 9, 1, 1,
       '{1}', 1, 'host', 'p', encode(sha256(CAST(:name AS bytea)), 'hex'), '0', '{}', :job_id, :lease_id
FROM run r WHERE r.id = :run_id RETURNING id
"""
TRAINING = """
INSERT INTO student_training (run_id, policy, seed, settings, settings_sha256, generation_ids, with_reasoning,
                              answers_sha256, job_id, model_id)
SELECT :run_id, :policy, :seed, '{}', :sha, array(SELECT g.id FROM generation g JOIN prompt p ON p.id = g.prompt_id
       JOIN run r ON r.prompt_set_id = p.prompt_set_id WHERE r.id = :run_id), false, :sha, :job_id, :model_id
"""


class World:
    """A run, variants of it, students by SQL, and examinations whose answers are right where the test says so."""

    def __init__(self, run: "SmallRun", folder: Path) -> None:
        self.run, self.engine, self.folder = run, run.engine, folder
        self.import_set("exam")

    def import_set(self, name: str) -> None:
        source = self.folder / f"{name}.jsonl"
        lines = [{"id": f"e{n}", "prompt": f"problem {n}", "reference_answer": "1"} for n in range(PROBLEMS)]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        import_prompts(self.engine, name, [str(source)])

    def variant(self, policy: str) -> int:
        given = self.run.config.model_dump(mode="json", exclude_unset=True) | {
            "name": f"small.{policy}",
            "policy": policy,
        }
        run_id = self.run.create(parse_run(given, source="test"))
        own, self.run.id = self.run.id, run_id
        self.run.work()
        self.run.id = own
        return run_id

    def train(self, run_id: int, policy: str, seed: int = 0, sha: str = "a" * 64) -> int:
        """A student, as if it had been trained."""
        with self.engine.begin() as conn:
            lease_id = jobs.open_lease(conn, worker="w", host="h", queue="train")
            job_id = jobs.enqueue_one(conn, run_id, "train_student", "train", Stage.TRAIN_STUDENT)
            values = {"run_id": run_id, "policy": policy, "seed": seed, "sha": sha, "job_id": job_id,
                      "lease_id": lease_id, "name": f"{run_id} {policy} {seed} {sha}"}  # fmt: skip
            jobs.claim(conn, lease_id, "train", 1)
            jobs.complete(conn, lease_id, [job_id])
            values["model_id"] = conn.execute(text(MODEL), values).scalar_one()
            conn.execute(text(TRAINING), values)
        return int(values["model_id"])  # type: ignore[call-overload]

    def examine(self, model_id: int, right: Callable[[str, int], float | None], prompts: str = "exam") -> None:
        """`right(teacher, problem)` gives the quality; None leaves the problem without an answer."""
        [planned] = examining.plan(self.engine, "small", prompts, [model_id])
        run_id = examining.begin(self.engine, planned)
        with self.engine.begin() as conn:
            runs.aim(conn, run_id, Stage.SCORE)
        while not pipeline.advance(self.engine, run_id).finished:
            for teacher in planned.config.teachers:
                self._answer(teacher.name, right)
            self._score(right)

    def _answer(self, teacher: str, right: Callable[[str, int], float | None]) -> None:
        with self.engine.begin() as conn:
            lease_id, claims = self.run.claim(conn, f"teacher.{teacher}")
            requests = generate.requests(conn, claims)
            place = self._places()
            new = [
                generate.NewGeneration(request, teacher, None, "stop", 5, 7, 0.1, None)
                for request in requests if right(teacher, place[request.claim.prompt_id]) is not None
            ]  # fmt: skip
            generate.store(conn, lease_id, new)
            silent = {one.id for one in claims} - {one.request.claim.id for one in new}
            jobs.fail(conn, lease_id, [jobs.Failure(one, "refused", "it says no", permanent=True) for one in silent])

    def _score(self, right: Callable[[str, int], float | None]) -> None:
        with self.engine.begin() as conn:
            lease_id, claims = self.run.claim(conn, "score.quality")
            place = self._places()
            prompt = dict(self.run.rows("SELECT id, prompt_id FROM generation"))
            score.store(conn, lease_id, [
                score.Scored(item, right(item.answered.answer, place[prompt[item.claim.generation_id]]) or 0.0,
                             {"basis": "boxed"})
                for item in score.items(conn, claims)
            ])  # fmt: skip

    def _places(self) -> dict[int, int]:
        return dict(self.run.rows("SELECT id, position FROM prompt"))


def share(of: float) -> Callable[[str, int], float]:
    """The first so many problems right; the base has a quarter."""
    return lambda teacher, problem: float(problem < PROBLEMS * (of if teacher.startswith("student-") else 0.25))


@pytest.fixture
def world(build_run: "Callable[..., SmallRun]", tmp_path: Path) -> World:
    run = build_run(teachers=TEACHERS)
    run.work()
    return World(run, tmp_path)


def test_before_any_student_there_are_the_sets(world: World) -> None:
    world.variant("strong")
    found = comparison.compare(world.engine, "small")
    assert [row.label for row in found.rows] == ["base student", "random", "strong"]
    data = found.own.data
    assert data is not None
    assert (data.rows, data.tokens, data.quality, data.is_right, data.answer_tokens) == (8, 16, 1.0, 1.0, 1.0)
    assert (data.learnability, data.cut, data.unparsed, data.waiting) == (1.0, 0.0, None, 0)
    assert data.cost == pytest.approx(8 * 3 / 1e6)
    assert [row.relative_tokens for row in found.policies] == [1.0, 1.0]
    assert (found.prompts, found.own.students) == (None, None)
    [said] = verdict.sentences(found)
    assert said == (
        "Without a student: random and strong. Next: `persyn student train small` and"
        " `persyn student train small.strong`."
    )


def test_students_are_compared_problem_by_problem(world: World) -> None:
    strong = world.variant("strong")
    own = [world.train(world.run.id, "random", seed) for seed in (0, 1)]
    rivals = [world.train(strong, "strong", seed) for seed in (0, 1)]
    for model_id in own:
        world.examine(model_id, share(0.5))
    for model_id in rivals:
        world.examine(model_id, share(0.9))
    found = comparison.compare(world.engine, "small")
    base, mine, theirs = (row.students for row in found.rows)
    assert base is not None
    assert mine is not None
    assert theirs is not None
    assert [facts.result.mean for facts in (base, mine, theirs)] == [0.25, 0.5, 0.9]
    assert (mine.seeds, mine.model_ids, theirs.model_ids) == ([0, 1], own, rivals)
    assert theirs.difference is not None
    assert base.difference is not None
    assert theirs.difference.mean == pytest.approx(0.4)
    assert 0.0 < theirs.difference.low < 0.4 < theirs.difference.high
    assert base.difference.mean == pytest.approx(-0.25)
    assert (mine.difference, found.problems, mine.leaks, mine.unanswered) == (None, PROBLEMS, 0, 0)
    said = verdict.sentences(found)
    assert said[0].startswith("strong is ahead of random by 40.0 points (")
    assert world.run.violations() == {}


def test_a_problem_without_an_answer_is_wrong_and_counted(world: World) -> None:
    model_id = world.train(world.run.id, "random")
    world.examine(model_id, lambda teacher, problem: None if teacher.startswith("student-") and problem < 10 else 1.0)
    found = comparison.compare(world.engine, "small", "exam")
    assert found.own.students is not None
    assert (found.own.students.result.mean, found.own.students.unanswered) == (0.75, 10)
    assert "10 answers are missing or unmeasured, and count as wrong." in verdict.sentences(found)


def test_a_student_that_answers_nothing_is_a_result(world: World) -> None:
    model_id = world.train(world.run.id, "random")
    world.examine(model_id, lambda teacher, _: None if teacher.startswith("student-") else 1.0)
    found = comparison.compare(world.engine, "small", "exam")
    assert found.own.students is not None
    assert (found.own.students.result.mean, found.own.students.unanswered) == (0.0, PROBLEMS)


def test_the_newest_student_of_a_seed_stands_for_it(world: World) -> None:
    first, second = (world.train(world.run.id, "random", sha=letter * 64) for letter in "ab")
    world.examine(first, share(0.5))
    world.examine(second, share(0.8))
    found = comparison.compare(world.engine, "small", "exam")
    assert found.own.students is not None
    assert (found.own.students.model_ids, found.own.students.result.mean) == ([second], pytest.approx(0.8))


def test_an_unfinished_examination_is_no_result(world: World) -> None:
    first = world.train(world.run.id, "random")
    world.examine(first, share(0.5))
    with world.engine.begin() as conn:
        conn.execute(text("UPDATE run SET finished_at = NULL WHERE name LIKE 'student-%'"))
    found = comparison.compare(world.engine, "small", "exam")
    assert (found.own.trained, found.own.students) == (1, None)
    assert "`persyn student examine small --prompts exam`" in verdict.sentences(found)[0]


def test_another_policys_students_on_the_runs_own_answers_have_a_row(world: World) -> None:
    world.variant("strong")
    world.train(world.run.id, "strong")
    found = comparison.compare(world.engine, "small")
    assert [(row.label, row.trained) for row in found.policies] == [
        ("random", 0), ("strong", 1), ("strong (small.strong)", 0),
    ]  # fmt: skip


def test_what_cannot_be_compared_gets_a_sentence(world: World) -> None:
    model_id = world.train(world.run.id, "random")
    world.import_set("two")
    for prompts in ("exam", "two"):
        world.examine(model_id, share(0.5), prompts)
    with pytest.raises(ConfigError, match="students were examined on several sets; name one of exam, two"):
        comparison.compare(world.engine, "small")
    assert comparison.compare(world.engine, "small", "two").problems == PROBLEMS
    student = world.run.config.student.model_copy(update={"name": "z"})
    world.run.create(world.run.config.model_copy(update={"name": "unborn", "student": student, "seed": 4}))
    with pytest.raises(PersynError, match="Run unborn has no set and no student yet"):
        comparison.compare(world.engine, "unborn")


RUN = CliRunner()


def say(*arguments: str) -> Any:
    return RUN.invoke(main.app, ["compare", *arguments], env={"COLUMNS": "160"})


def test_a_person_and_a_program_read_the_same(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "engine", lambda: world.engine)
    assert "There is no result yet, so no plot" in say("small", "--plot", str(tmp_path / "none.svg")).output
    strong = world.variant("strong")
    for run_id, policy, skill in ((world.run.id, "random", 0.5), (strong, "strong", 0.9)):
        world.examine(world.train(run_id, policy), share(skill))
    done = say("small", "--plot", str(tmp_path / "plot.png"))
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "plot.png").stat().st_size > 0
    for part in ("base student", "90.0%", "+40.0", "With one student of random and strong", "teacher tokens", "cost"):
        assert part in done.output
    told = json.loads(say("small", "--json").output)
    assert [row["label"] for row in told["rows"]] == ["base student", "random", "strong"]
    assert told["rows"][2]["students"]["difference"]["mean"] == pytest.approx(0.4)
    assert "values" not in told["rows"][2]["students"]
    assert told["sentences"][0].startswith("strong is ahead of random")
    assert isinstance(say("small", "--plot", "x.doc").exception, PersynError)
    assert isinstance(say("small", "--prompts", "none").exception, PersynError)
