"""Students that are trained by jobs of the run's own queue: what is stored, what is shared, what is said."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transformers
from sqlalchemy import text

from persyn import jobs, removal, reporting, runs
from persyn.driving import students
from persyn.errors import ConfigError, NotFound, PersynError
from persyn.jobs import operators
from persyn.stages import artifacts, train_student
from persyn.stages.train_student import Asked
from persyn.states import JobState
from persyn.stores import VARIABLE
from persyn.workers.train import drain_trainings
from persyn.workers.worker import Worker

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

Build = Callable[..., "SmallRun"]
SPEAKING = """
UPDATE prompt SET messages = jsonb_build_array(jsonb_build_object('role', 'user', 'content', md5(id::text)))
"""
DIFFERING = "UPDATE generation SET text = 'it is ' || repeat(left(md5(id::text), 4), 1 + CAST(id AS int) % 5)"
TRAINING = {"epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 1e-2, "checkpoint_steps": 1}


@pytest.fixture
def finished(build_run: Build, tiny_model: str) -> Build:
    """`finished(lora=…)` makes a run of 8 answered prompts, whose student is a random Llama."""

    def make(model: str = tiny_model, max_length: int = 256, **training: Any) -> "SmallRun":
        student = {"name": "s", "model": model, "max_length": max_length, "training": TRAINING | training}
        run = build_run(student=student)
        execute(run, SPEAKING)
        run.work()
        execute(run, DIFFERING)
        return run

    return make


def execute(run: "SmallRun", statement: str, **values: Any) -> None:
    with run.engine.begin() as conn:
        conn.execute(text(statement), values)


def work(run: "SmallRun", home: Path) -> Worker:
    home.mkdir(exist_ok=True)
    worker = Worker(run.engine, home)
    drain_trainings(worker)
    return worker


def ask(run: "SmallRun", **options: Any) -> Asked:
    return train_student.enqueue(run.engine, run.id, **options)


def listed(run: "SmallRun") -> list[reporting.TrainingReport]:
    with run.engine.connect() as conn:
        return reporting.students(conn, run.id)


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_training_is_stored_with_its_set_and_can_be_taken_away(finished: Build, tmp_path: Path) -> None:
    run = finished()
    before = run.state()
    asked = ask(run)
    assert (asked.is_new, asked.answers, asked.left_out, asked.missing) == (True, 8, {}, {})
    assert run.state() == ("finished", "nothing is left to do but 1 trainings of its student")
    work(run, tmp_path / "one")
    [found] = listed(run)
    assert (found.state, found.policy, found.seed, found.rows, found.steps) == ("trained", "random", 0, 8, 4)
    assert (found.artifact_place, run.state()) == ("database", before)
    assert files(tmp_path / "one") == {f"students/{sha}/{name}" for sha, name in stored_files(run)}
    students.save(run.engine, found.model_id, tmp_path / "two", tmp_path / "folder")  # type: ignore[arg-type]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    assert network.generation_config.eos_token_id[0] == tokenizer.eos_token_id
    with pytest.raises(ConfigError, match="it exists"):
        students.save(run.engine, found.model_id, tmp_path / "two", tmp_path / "folder")  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="There is no trained student 99"):
        students.save(run.engine, 99, tmp_path / "two", tmp_path / "other")
    assert run.violations() == {}


def stored_files(run: "SmallRun") -> list[Any]:
    return run.rows("SELECT DISTINCT sha256, file FROM artifact_chunk")


def test_a_seed_twice_is_the_student_that_exists(finished: Build, tmp_path: Path) -> None:
    run = finished()
    first, again = ask(run, seed=3), ask(run, seed=3)
    assert (again.is_new, again.job_id, again.job_state) == (False, first.job_id, JobState.READY)
    work(run, tmp_path)
    [found] = listed(run)
    done = ask(run, seed=3)
    assert (done.is_new, done.job_state, done.model_id) == (False, JobState.DONE, found.model_id)
    assert ask(run, seed=4).is_new


def test_policies_that_chose_the_same_rows_share_a_training(finished: Build, tmp_path: Path) -> None:
    run = finished()
    execute(run, """
    INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)
    SELECT run_id, prompt_id, 'strong', basis, teacher_id, lease_id FROM routing_decision WHERE policy = 'random'
    """)  # fmt: skip
    assert ask(run, policy="strong").is_new
    assert ask(run).is_new
    work(run, tmp_path)
    one, two = listed(run)
    assert (one.policy, two.policy, one.model_id) == ("strong", "random", two.model_id)
    assert [row[0] for row in run.rows("SELECT count(*) FROM student_model")] == [1]
    assert run.violations() == {}


@pytest.mark.parametrize("where", ["database", "store"])
def test_a_lora_student_is_an_adapter_that_can_be_merged(
    finished: Build, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "store":
        monkeypatch.setattr(artifacts, "IN_DATABASE_AT_MOST", 0)
        (tmp_path / "store").mkdir()
        monkeypatch.setenv(VARIABLE, f"file://{tmp_path / 'store'}")
    run = finished(method="lora", lora={"rank": 2})
    ask(run)
    work(run, tmp_path / "one")
    [found] = listed(run)
    assert (found.state, found.artifact_place, found.method) == ("trained", where, "lora")
    assert found.model_id is not None
    students.save(run.engine, found.model_id, tmp_path / "two", tmp_path / "merged")
    students.save(run.engine, found.model_id, tmp_path / "two", tmp_path / "apart", adapter=True)
    assert "adapter_config.json" in files(tmp_path / "apart")
    assert "adapter_config.json" not in files(tmp_path / "merged")
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not any("lora" in name for name, _ in network.named_parameters())


def test_a_students_files_that_are_lost_are_made_anew(finished: Build, tmp_path: Path) -> None:
    run = finished()
    ask(run)
    work(run, tmp_path / "one")
    [found] = listed(run)
    execute(run, "DELETE FROM artifact_chunk")
    assert run.violations() == {"a_student_in_the_database_has_its_files": 1}
    assert ask(run, again=True).is_new
    work(run, tmp_path / "two")
    [anew] = listed(run)
    assert (anew.model_id, anew.final_loss, anew.state) == (found.model_id, found.final_loss, "trained")
    students.save(run.engine, found.model_id, tmp_path / "three", tmp_path / "folder")  # type: ignore[arg-type]
    assert run.violations() == {}


def test_what_a_student_would_go_without_is_said_before_anything_is_spent(finished: Build) -> None:
    run = finished()
    with pytest.raises(
        PersynError, match=r"prompts of run small have no answer .*`persyn run small --policy mix` asks"
    ):
        ask(run, policy="mix")
    partly = ask(run, policy="mix", partial=True)
    assert 0 < partly.answers < 8
    with pytest.raises(ConfigError, match="--policy persyn: the run small has no decisions of it"):
        ask(run, policy="persyn")
    execute(run, "UPDATE generation SET finish_reason = 'length'")
    with pytest.raises(PersynError, match="No answer of run small can be learnt by the policy random: 8 cut"):
        ask(run)
    runs.cancel(run.engine, run.id, "me")
    with pytest.raises(ConfigError, match="Run small is cancelled"):
        ask(run)


def test_a_run_that_still_goes_on_is_trained_on_only_when_told_so(build_run: Build) -> None:
    run = build_run()
    with pytest.raises(PersynError, match="`persyn status small` shows how far it is"):
        ask(run)


def died(run: "SmallRun", home: Path) -> str:
    ask(run)
    work(run, home)
    [found] = listed(run)
    return found.state


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_length": 16}, "dead: empty_set: no answer gives a row to learn from (8: longer than student.max_length"),
        ({"learning_rate": 1e38}, "dead: not_finite: the "),
    ],
)
def test_a_training_that_cannot_be_done_is_dead_and_says_what_to_change(
    finished: Build, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    run = finished(**settings)
    assert died(run, tmp_path).startswith(sentence)
    assert run.state() == ("finished", "1 of its jobs are dead")
    finished_at = run.rows("SELECT finished_at FROM run")
    assert operators.retry(run.engine, operators.Filter(run_id=run.id)) == 1
    assert run.rows("SELECT finished_at FROM run") == finished_at
    run.advance()
    assert run.state()[0] == "finished"
    work(run, tmp_path)
    assert listed(run)[0].state.startswith(sentence)


def test_a_student_without_a_template_dies_with_the_remedy(finished: Build, tmp_path: Path, tiny_model: str) -> None:
    bare = tmp_path / "bare"
    network = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    network.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    state = died(finished(model=str(bare)), tmp_path / "home")
    assert state.startswith("dead: no_stop_token: The student has no chat template")
    assert "Set student.model to one that has one" in state


def test_answers_that_were_deleted_meanwhile_end_it(finished: Build, tmp_path: Path) -> None:
    run = finished()
    ask(run)
    execute(run, "DELETE FROM score")
    execute(run, "DELETE FROM generation WHERE id = (SELECT min(id) FROM generation WHERE prompt_id = 1)")
    execute(run, "DELETE FROM generation WHERE prompt_id = 1")
    work(run, tmp_path)
    assert listed(run)[0].state.startswith("dead: answers_deleted: 1 of the 8 answers were deleted")


def test_a_model_that_changed_under_its_checkpoint_is_not_gone_on_with(
    finished: Build, tmp_path: Path, tiny_model: str
) -> None:
    run = finished()
    asked = ask(run)
    worker = Worker(run.engine, tmp_path)
    worker.stopping.set()  # it leaves after its first step
    leave_after_a_step(run, worker)
    [checkpoints] = (tmp_path / "students").glob(f"*/job-{asked.job_id}.checkpoints")
    [record] = checkpoints.glob("checkpoint-*/record.json")
    record.write_text(json.dumps({"key": "another", "seconds": 1.0}))
    work(run, tmp_path)
    assert listed(run)[0].state.startswith("dead: other_checkpoint: ")


def leave_after_a_step(run: "SmallRun", worker: Worker) -> None:
    from persyn.stages.work import Work

    with worker.lease("train") as lease:
        with run.engine.begin() as conn:
            [claim] = jobs.claim(conn, lease.id, "train", 1)
            loaded = runs.load(conn, run.id)
        train_student.perform(Work(run.engine, worker.home, lease, loaded, claim, worker.warm, worker.stopping))


def test_a_host_without_trl_is_unfit_and_the_job_waits(
    finished: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished()
    ask(run)
    monkeypatch.setitem(sys.modules, "persyn.students.train", None)
    monkeypatch.delattr("persyn.students.train", raising=False)
    worker = work(run, tmp_path)
    assert [(unfit.queue) for unfit in worker.fitness.report(time.monotonic())] == ["train"]
    assert run.rows("SELECT state, attempt FROM job WHERE kind = 'train_student'") == [("ready", 0)]


def test_a_run_is_deleted_with_its_students_and_a_shared_one_stays(finished: Build, tmp_path: Path) -> None:
    run = finished()
    ask(run)
    work(run, tmp_path)
    with run.engine.begin() as conn:
        other = runs.create(conn, run.config.model_copy(update={"name": "other"}))
        conn.execute(text("""
        INSERT INTO student_training (run_id, policy, seed, settings, settings_sha256, generation_ids, with_reasoning,
                                      answers_sha256, job_id, model_id)
        SELECT :other, policy, seed, settings, settings_sha256, generation_ids, with_reasoning, answers_sha256,
               (SELECT min(id) FROM job), model_id FROM student_training
        """), {"other": other})  # fmt: skip
    with run.engine.begin() as conn:
        conn.execute(text("UPDATE job SET run_id = :other WHERE id = (SELECT min(id) FROM job)"), {"other": other})
        assert removal.size_of_run(conn, run.id)["trainings of its student"] == 1
        removal.delete_run(conn, run.id)
    assert [row[0] for row in run.rows("SELECT count(*) FROM student_model")] == [1]
    with run.engine.begin() as conn:
        removal.delete_run(conn, other)
    assert [row[0] for row in run.rows("SELECT count(*) FROM student_model")] == [0]
    assert stored_files(run) == []


ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
from pathlib import Path
from sqlalchemy import create_engine
from persyn.workers.train import drain_trainings
from persyn.workers.worker import Worker
drain_trainings(Worker(create_engine(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_checkpoint_with_the_same_losses(finished: Build, tmp_path: Path) -> None:
    run = finished(epochs=40)
    ask(run, seed=1)
    work(run, tmp_path / "whole")
    [whole] = run.rows("SELECT losses FROM student_model")
    asked = ask(run, seed=1, again=True)
    url = run.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(tmp_path / "cut")],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not list((tmp_path / "cut").glob("students/*/*.checkpoints/checkpoint-[3-9]/record.json")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    execute(run, "UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    with run.engine.begin() as conn:
        assert jobs.reap(conn) == 1
    done = [int(path.name.partition("-")[2]) for path in (tmp_path / "cut").glob("students/*/*/checkpoint-*")]
    assert max(done) < len(whole.losses)
    work(run, tmp_path / "cut")
    assert listed(run)[0].state == "trained"
    [resumed] = run.rows("SELECT losses, job_id FROM student_model")
    assert resumed.job_id == asked.job_id
    assert resumed.losses == whole.losses
    assert run.violations() == {}
