"""Beyond the stages: a student learns the set of a finished run, when somebody asks for it.

The answers are fixed when a training is asked for. What comes of them is told by rows, base, hyperparameters and seed
alone: where a model of these exists already, made for another policy or run, the training shares it.
"""

import logging
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import jobs, runs
from persyn.chat import Answered
from persyn.config import Policy, StudentTraining, fingerprint
from persyn.errors import ConfigError, JobFailed, NotFound, PersynError
from persyn.inference import models
from persyn.jobs import wake_ups
from persyn.stages import artifacts
from persyn.stages.work import Work
from persyn.states import JobState, Stage
from persyn.thoughts import with_thought

if TYPE_CHECKING:
    from persyn.exports.write import Taught

log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "transformers", "trl", "peft")
STILL_TO_COME = ("waiting", "not_asked", "not_routed")  # of the reasons why a prompt has no answer

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('persyn student training', :run_id))")
_ASKED_BEFORE = text("""
SELECT t.id, t.job_id, t.model_id, j.state AS job_state
FROM student_training t JOIN job j ON j.id = t.job_id
WHERE t.run_id = :run_id AND t.policy = :policy AND t.seed = :seed AND t.settings_sha256 = :settings_sha256
  AND t.answers_sha256 = :answers_sha256
""")
_ASK = text("""
INSERT INTO student_training (run_id, policy, seed, settings, settings_sha256, generation_ids, with_reasoning,
                              answers_sha256, job_id)
VALUES (:run_id, :policy, :seed, :settings, :settings_sha256, :generation_ids, :with_reasoning, :answers_sha256,
        :job_id)
""").bindparams(bindparam("settings", type_=JSONB))
_ASK_AGAIN = text("UPDATE student_training SET job_id = :job_id, again = true WHERE id = :id")

_TRAINING = text("""
SELECT t.id, t.policy, t.seed, t.settings, t.generation_ids, t.with_reasoning, t.again, r.student_id
FROM student_training t JOIN run r ON r.id = t.run_id WHERE t.job_id = :job_id
""")
_ANSWERS = text("""
SELECT p.messages, g.text, coalesce(g.reasoning, '') AS reasoning, p.tools, g.tool_calls
FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS taught (id, place)
JOIN generation g ON g.id = taught.id
JOIN prompt p ON p.id = g.prompt_id
ORDER BY taught.place
""")
_BEGAN_ON = text("""
SELECT l.host FROM job_event e JOIN lease l ON l.id = e.lease_id
WHERE e.job_id = :job_id AND e.event = 'claimed' AND e.lease_id <> :lease_id ORDER BY e.id DESC LIMIT 1
""")

_MODEL = "SELECT id, artifact_place AS place, artifact_path AS path, artifact_sha256 AS sha256 FROM student_model"
_STORE = text("""
INSERT INTO student_model (key_sha256, student_id, base_sha256, rows_sha256, hyperparameters, seed, dtype, rows,
                           left_out, tokens, steps, seconds, losses, final_loss, artifact_place, artifact_path,
                           artifact_sha256, code_version, trained_with, job_id, lease_id)
VALUES (:key_sha256, :student_id, :base_sha256, :rows_sha256, :hyperparameters, :seed, :dtype, :rows, :left_out,
        :tokens, :steps, :seconds, :losses, :final_loss, :artifact_place, :artifact_path, :artifact_sha256,
        :code_version, :trained_with, :job_id, :lease_id)
ON CONFLICT (key_sha256) DO UPDATE
SET artifact_place = EXCLUDED.artifact_place, artifact_path = EXCLUDED.artifact_path,
    artifact_sha256 = EXCLUDED.artifact_sha256, seconds = EXCLUDED.seconds, losses = EXCLUDED.losses,
    final_loss = EXCLUDED.final_loss, code_version = EXCLUDED.code_version,
    trained_with = EXCLUDED.trained_with, job_id = EXCLUDED.job_id, lease_id = EXCLUDED.lease_id,
    created_at = clock_timestamp()
RETURNING id
""").bindparams(*(bindparam(name, type_=JSONB) for name in ("hyperparameters", "left_out", "trained_with")))
_SETTLE = text("UPDATE student_training SET model_id = :model_id, again = false WHERE id = :id")


class Asked(NamedTuple):
    """A training that is asked for, now or before."""

    policy: Policy
    seed: int
    answers: int
    left_out: dict[str, int]
    missing: dict[str, int]
    job_id: int
    job_state: JobState
    model_id: int | None
    is_new: bool


class StoredStudent(NamedTuple):
    """A trained student: where its files are."""

    id: int
    place: str
    path: str
    sha256: str


def enqueue(
    engine: Engine, run_id: int, policy: Policy | None = None, seed: int | None = None, *, partial: bool = False,
    again: bool = False,
) -> Asked:  # fmt: skip
    """Ask for a training of the run's student, or find the one that was asked for before.

    partial: also where answers are still to come, or were never asked for. again: also where its model exists.
    Raises NotFound; ConfigError where the run is cancelled or the policy has no decisions; PersynError where answers
    are missing.
    """
    from persyn.exports import write  # noqa: PLC0415 - it loads pyarrow, which no worker needs

    with engine.connect() as conn:
        run = runs.load(conn, run_id)
    if run.cancelled:
        raise ConfigError(f"Run {run.name} is cancelled. `persyn runs resume {run.name}` lets it go on.")
    policy = policy or run.config.policy
    taught = write.taught(engine, run_id, policy)
    _require_answers(run, policy, taught, partial=partial)
    settings = run.config.student.training or StudentTraining()
    seed = next(one for one in (seed, settings.seed, run.config.seed) if one is not None)
    values = {
        "run_id": run_id,
        "policy": policy,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "settings_sha256": fingerprint(settings.hyperparameters()),
        "generation_ids": taught.generation_ids,
        "with_reasoning": taught.with_reasoning,
        "answers_sha256": fingerprint([taught.generation_ids, taught.with_reasoning]),
    }
    with engine.begin() as conn:
        conn.execute(_ONE_AT_A_TIME, {"run_id": run_id})
        before = conn.execute(_ASKED_BEFORE, values).first()
        told = (policy, seed, len(taught.generation_ids), taught.left_out, taught.missing)
        if before is not None and not (again and before.job_state == JobState.DONE):
            return Asked(*told, before.job_id, JobState(before.job_state), before.model_id, is_new=False)
        job_id = jobs.enqueue_one(conn, run_id, "train_student", wake_ups.TRAIN, Stage.TRAIN_STUDENT)
        if before is None:
            conn.execute(_ASK, values | {"job_id": job_id})
        else:
            conn.execute(_ASK_AGAIN, {"id": before.id, "job_id": job_id})
        return Asked(*told, job_id, JobState.READY, None, is_new=True)


def _require_answers(run: runs.Run, policy: Policy, taught: "Taught", *, partial: bool) -> None:
    waiting = sum(taught.missing.get(reason, 0) for reason in STILL_TO_COME)
    if waiting and not partial:
        own = policy == run.config.policy
        way = f"`persyn status {run.name}` shows how far it is"
        if not own:
            way = f"`persyn run {run.name} --policy {policy}` asks for them, and reuses what exists"
        raise PersynError(
            f"{waiting:,} prompts of run {run.name} have no answer of the teacher that the policy {policy} chooses."
            f" {way}; --partial trains on the {len(taught.generation_ids):,} answers that there are."
        )
    if not taught.generation_ids:
        why = ", ".join(f"{number:,} {reason}" for reason, number in sorted((taught.left_out | taught.missing).items()))
        raise PersynError(f"No answer of run {run.name} can be learnt by the policy {policy}: {why or 'it has none'}.")


def find(conn: Connection, model_id: int) -> StoredStudent:
    """Raises NotFound."""
    row = conn.execute(text(f"{_MODEL} WHERE id = :id"), {"id": model_id}).first()
    if row is None:
        raise NotFound(f"There is no trained student {model_id}. `persyn student list RUN` lists a run's.")
    return StoredStudent(*row)


def folder(engine: Engine, stored: StoredStudent, home: Path) -> Path:
    """The folder on this host with the student's files, fetched if need be. Raises ConfigError, ModelError."""
    return artifacts.folder(artifacts.STUDENT, engine, stored.place, stored.path, stored.sha256, home)


def perform(work: Work) -> None:
    """Train the run's student and store it. Raises JobFailed, LeaseLost, ModelError, ConfigError."""
    from persyn.students import train  # noqa: PLC0415 - it loads torch, TRL and PEFT

    with work.engine.connect() as conn:
        training = conn.execute(_TRAINING, {"job_id": work.claim.id}).one()
        answers = _answers(conn, training)
        deployment = wake_ups.deployment(conn)
    artifacts.try_out()
    students = work.home / "students" / deployment
    checkpoints = students / f"job-{work.claim.id}.checkpoints"
    _tell_of_another_host(work, checkpoints)
    try:
        _learn(work, training, answers, students, checkpoints)
    finally:
        train.free_memory()


def _learn(work: Work, training: Any, answers: Sequence[Answered], students: Path, checkpoints: Path) -> None:
    from persyn.students import dataset, train  # noqa: PLC0415

    student, options = work.run.config.student, StudentTraining.model_validate(training.settings)
    with work.lease.patience():  # it may be downloaded
        path = models.model_path(student.model, student.revision, work.home)
        base = train.load_base(path, student.revision, options)
        rows = dataset.training_set(base.tokenizer, answers, student.max_length)
    key = fingerprint({
        "rows": rows.sha256(), "base": base.sha256, "hyperparameters": options.hyperparameters(), "seed": training.seed,
    })  # fmt: skip
    if not training.again and _share(work, training, key):
        return
    watch = train.Watch(work.lease.beat, work.lease.patience, work.stopping.is_set)
    log.info("action=train_student policy=%s seed=%d rows=%d", training.policy, training.seed, len(rows.rows))
    trained = train.train(base, rows, options, seed=training.seed, checkpoints=checkpoints, key=key, watch=watch)
    if trained is None:
        return  # this worker leaves; its checkpoint stays for the next one on this host
    name = artifacts.name_of(work.run.id, work.lease.id)
    description = {
        "student": student.name, "model": student.model, "revision": student.revision, "method": options.method,
        "run": work.run.name, "policy": training.policy, "seed": training.seed, "rows_sha256": rows.sha256(),
    }  # fmt: skip
    with work.lease.patience():
        sha256 = train.save(base, trained, rows.stop_ids, students / name, description)
        kept = artifacts.keep(artifacts.STUDENT, students / name, sha256, f"{students.name}/{name}", work.lease.beat)
    values = {
        "key_sha256": key, "student_id": training.student_id, "base_sha256": base.sha256,
        "rows_sha256": rows.sha256(), "hyperparameters": options.hyperparameters(), "seed": training.seed,
        "dtype": base.dtype, "rows": len(rows.rows), "left_out": rows.left_out,
        "tokens": rows.tokens * options.epochs, "steps": len(trained.losses), "seconds": trained.seconds,
        "losses": trained.losses, "final_loss": trained.final_loss,
    }  # fmt: skip
    with work.engine.begin() as conn:
        store(conn, work, training.id, kept, values)
    artifacts.settle(kept, work.home)
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("action=train_student lease=%s loss=%.4f", work.lease.id, trained.final_loss)


def store(conn: Connection, work: Work, training_id: int, kept: artifacts.Kept, values: dict[str, Any]) -> None:
    """Complete the job and keep its model. Raises LeaseLost."""
    if not jobs.complete(conn, work.lease.id, [work.claim.id]):
        return
    made = {
        "code_version": persyn.__version__, "trained_with": {name: metadata.version(name) for name in _LIBRARIES},
        "job_id": work.claim.id, "lease_id": work.lease.id,
    }  # fmt: skip
    where = {"artifact_place": kept.place, "artifact_path": kept.path, "artifact_sha256": kept.sha256}
    model_id = conn.execute(_STORE, values | made | where).scalar_one()
    conn.execute(_SETTLE, {"id": training_id, "model_id": model_id})
    artifacts.store_chunks(conn, kept)


def _share(work: Work, training: Any, key: str) -> bool:
    """Complete the job with the model that exists of these rows, base, hyperparameters and seed; False without one."""
    with work.engine.begin() as conn:
        row = conn.execute(text(f"{_MODEL} WHERE key_sha256 = :key"), {"key": key}).first()
        if row is None:
            return False
        if jobs.complete(conn, work.lease.id, [work.claim.id]):
            conn.execute(_SETTLE, {"id": training.id, "model_id": row.id})
    log.info("action=train_student model=%d exists, of the same rows", row.id)
    return True


def _answers(conn: Connection, training: Any) -> list[Answered]:
    """The answers that are to be learnt, in their order. Raises JobFailed where some were deleted."""
    found = conn.execute(_ANSWERS, {"ids": training.generation_ids}).all()
    if gone := len(training.generation_ids) - len(found):
        raise JobFailed(
            "answers_deleted",
            f"{gone:,} of the {len(training.generation_ids):,} answers were deleted since this was asked for. Cancel"
            " this job, and ask for the training anew",
            permanent=True,
        )
    return [
        Answered(
            row.messages, with_thought(row.reasoning, row.text) if training.with_reasoning else row.text, row.tools,
            row.tool_calls,
        )
        for row in found
    ]  # fmt: skip


def _tell_of_another_host(work: Work, checkpoints: Path) -> None:
    if checkpoints.exists():
        return
    with work.engine.connect() as conn:
        values = {"job_id": work.claim.id, "lease_id": work.lease.id}
        host = conn.execute(_BEGAN_ON, values).scalar()
    if host is not None:
        log.warning("action=train_student it was begun on the host %s; no checkpoint is here, so it begins anew", host)
