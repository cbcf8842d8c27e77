"""Examinations of trained students: what is refused before anything is asked, and one from the run to the verdict."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import jobs, runs
from persyn.driving import examining
from persyn.errors import ConfigError, ModelError, NotFound
from persyn.exports.leaks import leaks
from persyn.imports.prompts import import_prompts
from persyn.reporting import comparison, examinations, verdict
from persyn.stages import model_paths, train_student
from persyn.states import Stage
from persyn.workers.train import drain_trainings
from persyn.workers.worker import Worker

if TYPE_CHECKING:
    from tests.integration.conftest import Site, SmallRun

SPEAKING = """
UPDATE prompt SET messages = jsonb_build_array(jsonb_build_object('role', 'user', 'content',
    'Learnt problem ' || md5(id::text) || ' of a long story with many words that go on and on until here'))
"""
TRAINING = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "method": "lora", "lora": {"rank": 2}}


@pytest.fixture
def run(build_run: "Callable[..., SmallRun]", servable_model: str) -> "SmallRun":
    """A finished run whose student is served as its first teacher is."""
    teachers = [
        {"name": "a", "model": servable_model, "server": {"kind": "transformers"}}, {"name": "b", "model": "m"},
    ]  # fmt: skip
    run = build_run(student={"name": "s", "model": servable_model, "training": TRAINING}, teachers=teachers)
    execute(run, SPEAKING)
    run.work()
    return run


@pytest.fixture
def trained(run: "SmallRun", tmp_path: Path) -> "SmallRun":
    train(run, tmp_path / "trainer")
    return run


def train(run: "SmallRun", home: Path, **options: Any) -> None:
    train_student.enqueue(run.engine, run.id, **options)
    home.mkdir(exist_ok=True)
    drain_trainings(Worker(run.engine, home))


def execute(run: "SmallRun", statement: str, **values: Any) -> None:
    with run.engine.begin() as conn:
        conn.execute(text(statement), values)


def import_set(
    run: "SmallRun", folder: Path, prompts: Sequence[str], name: str = "exam", answer: str | None = "7"
) -> None:
    source = folder / f"{name}.jsonl"
    lines = [
        {"id": f"e{n}", "prompt": words} | ({"reference_answer": answer} if answer else {})
        for n, words in enumerate(prompts)
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_prompts(run.engine, name, [str(source)])


def problems(count: int = 6) -> list[str]:
    return [f"What is {n} + {n + 3}?" for n in range(count)]


def the_student(run: "SmallRun") -> int:
    return int(run.rows("SELECT max(id) FROM student_model")[0][0])


def test_what_does_not_fit_is_refused_before_anything_is_made(run: "SmallRun", tmp_path: Path) -> None:
    import_set(run, tmp_path, problems())
    import_set(run, tmp_path, problems(3), "few")
    import_set(run, tmp_path, problems(), "open", answer=None)
    with pytest.raises(ConfigError, match=r"Run small has no trained student. `persyn student train small`"):
        examining.plan(run.engine, "small", "exam")
    train(run, tmp_path / "home")
    with pytest.raises(NotFound, match="there is no prompt set 'none'"):
        examining.plan(run.engine, "small", "none")
    with pytest.raises(ConfigError, match="holds 3 prompts; a run needs at least 4"):
        examining.plan(run.engine, "small", "few")
    with pytest.raises(ConfigError, match="6 of its 6 prompts have no reference_answer"):
        examining.plan(run.engine, "small", "open")
    with pytest.raises(ConfigError, match="it is the set that run small learns from"):
        examining.plan(run.engine, "small", "set")
    with pytest.raises(
        ConfigError, match=r"--student 99: it is no student of run small or of a variant of it; there are \d"
    ):
        examining.plan(run.engine, "small", "exam", [99])
    assert [row[0] for row in run.rows("SELECT name FROM run")] == ["small"]


def test_problems_that_were_learnt_are_refused_unless_they_are_allowed(trained: "SmallRun", tmp_path: Path) -> None:
    [learnt] = trained.rows("SELECT messages -> 0 ->> 'content' FROM prompt ORDER BY id LIMIT 1")
    import_set(trained, tmp_path, [*problems(), learnt[0], "In other words: " + learnt[0].removeprefix("Learnt ")])
    with pytest.raises(ConfigError, match=r"2 of its problems are like prompts that the students learnt: e6, e7. Take"):
        examining.plan(trained.engine, "small", "exam")
    [planned] = examining.plan(trained.engine, "small", "exam", allow_leaks=True)
    assert [leak.shown for leak in planned.leaks] == ["e6", "e7"]
    with trained.engine.connect() as conn:
        [other] = conn.execute(text("SELECT id FROM prompt_set WHERE name = 'set'")).scalars()
        assert len(leaks(conn, other, [planned.model_id])[planned.model_id]) == 8


def test_an_examination_that_exists_is_gone_on_with_or_refused(trained: "SmallRun", tmp_path: Path) -> None:
    import_set(trained, tmp_path, problems())
    [planned] = examining.plan(trained.engine, "small", "exam", max_tokens=9)
    made = examining.begin(trained.engine, planned)
    [again] = examining.plan(trained.engine, "small", "exam")
    assert (examining.begin(trained.engine, again), again.config.teachers[1].sampling.max_tokens) == (made, 9)
    with pytest.raises(ConfigError, match=r"--max-tokens 8: student .* was examined on exam with 9"):
        examining.plan(trained.engine, "small", "exam", max_tokens=8)
    execute(trained, "UPDATE student_model SET artifact_sha256 = repeat('b', 64)")
    with pytest.raises(ConfigError, match=r"was trained again since it was examined on exam. `persyn runs delete"):
        examining.plan(trained.engine, "small", "exam")


def test_a_variants_students_are_the_runs_own_here(trained: "SmallRun", tmp_path: Path) -> None:
    import_set(trained, tmp_path, problems())
    variant = trained.config.model_copy(update={"name": "small.strong", "policy": "strong"})
    trained.create(variant)
    other = trained.config.model_copy(update={"name": "else", "teachers": trained.config.teachers[::-1]})
    trained.create(
        other.model_copy(update={"teachers": [other.teachers[0], other.teachers[0].model_copy(update={"name": "c"})]})
    )
    assert [one.model_id for one in examining.plan(trained.engine, "small.strong", "exam")] == [the_student(trained)]
    with pytest.raises(ConfigError, match="Run else has no trained student"):
        examining.plan(trained.engine, "else", "exam")


def test_a_students_files_are_found_by_its_number_and_hash(trained: "SmallRun", tmp_path: Path) -> None:
    number, home = the_student(trained), tmp_path / "server"
    [stored] = trained.rows("SELECT artifact_sha256 FROM student_model")
    merged = Path(model_paths.path_of(trained.engine, home, f"student:{number}", stored[0]))
    assert merged.name == f"{stored[0]}.merged"
    assert (merged / "model.safetensors").exists()
    assert not (merged / "adapter_config.json").exists()
    written = (merged / "model.safetensors").stat().st_mtime_ns
    assert model_paths.path_of(trained.engine, home, f"student:{number}", None) == str(merged)
    assert (merged / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ModelError, match="it was trained again, and its files are no longer those of sha256 cccc"):
        model_paths.path_of(trained.engine, home, f"student:{number}", "c" * 64)
    with pytest.raises(NotFound, match="There is no trained student 99"):
        model_paths.path_of(trained.engine, home, "student:99", None)
    with pytest.raises(ConfigError, match="student:x: expected student: and the number"):
        model_paths.path_of(trained.engine, home, "student:x", None)


@pytest.mark.slow
def test_from_a_run_to_a_verdict_though_the_worker_is_killed(trained: "SmallRun", site: "Site", tmp_path: Path) -> None:
    import_set(trained, tmp_path, problems(12))
    [planned] = examining.plan(trained.engine, "small", "exam", max_tokens=24)
    run_id = examining.begin(trained.engine, planned)
    with trained.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.SCORE)
    worker = site.start_worker()
    answers = "SELECT count(*) FROM generation g JOIN job j ON j.id = g.job_id WHERE j.run_id = :id"
    site.eventually(lambda: site.scalar(answers, id=run_id) > 0)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert site.scalar("SELECT finished_at IS NULL FROM run WHERE id = :id", id=run_id)
    execute(trained, "UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    with trained.engine.begin() as conn:
        jobs.reap(conn)
    site.start_worker()
    site.follow(run_id)
    assert site.scalar(answers, id=run_id) == 24
    with trained.engine.connect() as conn:
        found = examinations.examined(conn, planned.model_id, "exam", run_id)
    assert (found.problems, found.leaks, found.is_share) == (12, 0, True)
    assert found.result is not None
    assert f"Student {planned.model_id}: " in found.sentence()
    compared = comparison.compare(trained.engine, "small")
    assert (compared.prompts, compared.problems) == ("exam", 12)
    assert compared.own.students is not None
    assert compared.own.students.result.mean == pytest.approx(found.result)
    assert "Only random has examined students" in verdict.sentences(compared)[0]
    assert site.violations() == {}
    train(trained, tmp_path / "trainer", seed=3)
    assert {one.config.teachers[1].sampling.max_tokens for one in examining.plan(trained.engine, "small", "exam")} == {
        24
    }
    second = next(
        one
        for one in examining.plan(trained.engine, "small", "exam", max_tokens=24)
        if one.model_id != planned.model_id
    )
    done = site.persyn("student", "examine", "small", "--prompts", "exam", "--with-worker")
    assert done.returncode == 0, done.stderr
    assert f"Student {second.model_id}: " in done.stdout
    assert site.scalar(answers, id=examining.begin(trained.engine, second)) == 12, "the base answered before"
    repeated = site.persyn("student", "examine", "small", "--prompts", "exam", "--json")  # no worker: all is there
    assert [one["problems"] for one in json.loads(repeated.stdout)] == [12, 12]
    refused = site.persyn("student", "examine", "small", "--prompts", "set")
    assert (refused.returncode, refused.stdout) == (2, "")
    again = comparison.compare(trained.engine, "small")
    assert again.own.students is not None
    assert len(again.own.students.seeds) == 2
