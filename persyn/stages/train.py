"""Stage 3, training: the router learns from the calibration rewards, and its row says which artifact it is."""

import logging
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import jobs
from persyn.config import RunConfig
from persyn.errors import JobFailed
from persyn.inference import models
from persyn.jobs.wake_ups import ROUTER
from persyn.rewards import matrix
from persyn.rewards.combine import count_degenerate
from persyn.stages.work import Work
from persyn.states import Stage

log = logging.getLogger(__name__)

_INSERT = text("""
INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_path, artifact_sha256, metrics,
                    code_version, job_id, lease_id)
VALUES (:run_id, :backbone, :teacher_ids, :alpha, :normalisation, :seed, :artifact_path, :artifact_sha256, :metrics,
        :code_version, :job_id, :lease_id)
ON CONFLICT (run_id) DO NOTHING
""").bindparams(bindparam("metrics", type_=JSONB))


class StoredRouter(NamedTuple):
    """A run's router: which artifact it is, and how well it does on the validation prompts."""

    id: int
    backbone: str
    artifact_path: str
    artifact_sha256: str
    metrics: dict[str, Any]


def enqueue(conn: Connection, run_id: int) -> int:
    """The one job that trains the run's router; returns 1 if it is new."""
    return jobs.enqueue_stage(conn, run_id, "train_router", ROUTER, Stage.TRAIN)


def find(conn: Connection, run_id: int) -> StoredRouter | None:
    """None where the run has no router yet."""
    row = conn.execute(
        text("SELECT id, backbone, artifact_path, artifact_sha256, metrics FROM router WHERE run_id = :id"),
        {"id": run_id},
    ).first()
    return None if row is None else StoredRouter(*row)


def store(
    conn: Connection, lease_id: int, job_id: int, run_id: int, config: RunConfig, *, teacher_ids: tuple[int, ...],
    path: str, sha256: str, metrics: dict[str, Any],
) -> None:  # fmt: skip
    """Complete the training job and keep its router. Raises LeaseLost."""
    if not jobs.complete(conn, lease_id, [job_id]):
        return
    conn.execute(
        _INSERT,
        {
            "run_id": run_id,
            "backbone": config.router.backbone,
            "teacher_ids": list(teacher_ids),
            "alpha": config.alpha,
            "normalisation": config.normalisation,
            "seed": config.seed,
            "artifact_path": path,
            "artifact_sha256": sha256,
            "metrics": metrics,
            "code_version": persyn.__version__,
            "job_id": job_id,
            "lease_id": lease_id,
        },
    )


def perform(work: Work) -> None:
    """Train the run's router and store it. Raises JobFailed, LeaseLost, ModelError."""
    from persyn.router import train  # noqa: PLC0415 - it loads torch

    run, config = work.run, work.run.config
    with work.engine.connect() as conn:
        measured = matrix.load(conn, run.id, config)
    if not (np.isfinite(measured.reward[measured.train]).sum(axis=1) >= 2).any():
        message = "no training prompt has scored answers of two teachers; audit.failures says what went wrong"
        raise JobFailed("no_preferences", message, permanent=True)
    # A job that is taken up again after a crash has another lease, and goes on from the same place.
    checkpoint = work.home / "routers" / f"job-{work.claim.id}.checkpoint"
    with work.lease.patience():  # it may be downloaded
        backbone_path = models.model_path(config.router.backbone, config.router.revision, work.home)
    trained = train.train(
        measured.messages,
        measured.reward,
        measured.train,
        measured.validation,
        config.router,
        seed=config.seed,
        backbone_path=backbone_path,
        on_epoch=lambda *_: work.lease.beat(),
        preferences=config.preferences,
        prompt_ids=measured.prompt_ids,
        checkpoint=checkpoint,
        on_step=lambda *_: work.lease.beat(),
        on_progress=work.lease.beat,
        while_loading=work.lease.patience,
    )
    folder = work.home / "routers" / f"run-{run.id}-lease-{work.lease.id}"
    sha256 = train.save(trained, folder, _description(work))
    flat = count_degenerate(measured.quality, measured.learnability, measured.reward)._asdict()
    with work.engine.begin() as conn:
        store(
            conn, work.lease.id, work.claim.id, run.id, config,
            teacher_ids=run.teacher_ids, path=str(folder), sha256=sha256,
            metrics=trained.metrics | {f"degenerate_{name}": value for name, value in flat.items()},
        )  # fmt: skip
    checkpoint.unlink(missing_ok=True)  # with the optimiser's state it is several times the router
    log.info("action=train_router lease=%s", work.lease.id)


def _description(work: Work) -> dict[str, Any]:
    """The run's part of `router.json`."""
    config = work.run.config
    return {
        "run": work.run.name,
        "teachers": [teacher.name for teacher in config.teachers],
        "alpha": config.alpha,
        "normalisation": config.normalisation,
    }
