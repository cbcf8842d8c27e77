"""Stage 3, training: the router learns from the calibration rewards, and its row says which artifact it is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import jobs, runs
from persyn.config import RunConfig
from persyn.errors import ConfigError, JobFailed
from persyn.inference import models
from persyn.jobs import wake_ups
from persyn.jobs.wake_ups import ROUTER
from persyn.rewards import matrix
from persyn.rewards.combine import count_degenerate
from persyn.stages import artifacts
from persyn.stages.work import Work
from persyn.states import Stage

log = logging.getLogger(__name__)

_INSERT = text("""
INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_place, artifact_path,
                    artifact_sha256, metrics, code_version, job_id, lease_id)
VALUES (:run_id, :backbone, :teacher_ids, :alpha, :normalisation, :seed, :artifact_place, :artifact_path,
        :artifact_sha256, :metrics, :code_version, :job_id, :lease_id)
ON CONFLICT (run_id) DO UPDATE
SET teacher_ids = EXCLUDED.teacher_ids, artifact_place = EXCLUDED.artifact_place,
    artifact_path = EXCLUDED.artifact_path,
    artifact_sha256 = EXCLUDED.artifact_sha256, metrics = EXCLUDED.metrics, code_version = EXCLUDED.code_version,
    job_id = EXCLUDED.job_id, lease_id = EXCLUDED.lease_id, created_at = clock_timestamp()
""").bindparams(bindparam("metrics", type_=JSONB))

_KEEP_HELD_OUT = text("""
UPDATE calibration_prompt SET held_out_coefficients = :held_out WHERE run_id = :run_id AND prompt_id = :prompt_id
""")

_IS_USED = text("""
SELECT EXISTS (SELECT FROM run r JOIN routing_decision d ON d.run_id = r.id AND d.router_id IS NOT NULL
               WHERE coalesce(r.router_run_id, r.id) = :run_id)
""")
_ROUTES_NOW = text("""
SELECT r.name FROM run r JOIN job j ON j.run_id = r.id AND j.kind = 'route' AND j.state = 'leased'
WHERE r.router_run_id = :run_id ORDER BY r.id LIMIT 1
""")


class StoredRouter(NamedTuple):
    """A run's router: which artifact it is, and how well it does on the validation prompts."""

    id: int
    backbone: str
    artifact_place: str
    artifact_path: str
    artifact_sha256: str
    metrics: dict[str, Any]


def enqueue(conn: Connection, run_id: int) -> int:
    """The one job that trains the run's router; returns 1 if it is new."""
    return jobs.enqueue_stage(conn, run_id, "train_router", ROUTER, Stage.TRAIN)


def find(conn: Connection, run_id: int) -> StoredRouter | None:
    """The router that the run goes by, its own or another run's; None where it has none yet."""
    row = conn.execute(
        text("""
        SELECT router.id, backbone, artifact_place, artifact_path, artifact_sha256, metrics
        FROM run r JOIN router ON router.run_id = coalesce(r.router_run_id, r.id) WHERE r.id = :id
        """),
        {"id": run_id},
    ).first()
    return None if row is None else StoredRouter(*row)


def folder(engine: Engine, stored: StoredRouter, home: Path) -> Path:
    """The folder on this host with the router's files, which are fetched if need be. Raises ConfigError, ModelError."""
    return artifacts.folder(
        artifacts.ROUTER, engine, stored.artifact_place, stored.artifact_path, stored.artifact_sha256, home
    )


def is_used(conn: Connection, run_id: int) -> bool:
    """Whether the run's router has decided on a prompt, of this run or another."""
    return bool(conn.execute(_IS_USED, {"run_id": run_id}).scalar_one())


def again(conn: Connection, run_id: int) -> None:
    """Let the run's router be trained anew; decisions that it made stay, and none is made meanwhile.

    Raises ConfigError where the run has no router of its own, or a worker routes with it now.
    """
    if (owner := runs.load(conn, run_id).router_run_id) != run_id:
        raise ConfigError(
            f"--again: the run goes by the router of {runs.load(conn, owner).name!r}. Train that one anew."
        )
    if find(conn, run_id) is None:
        raise ConfigError("--again: the run has no router yet. Leave --again out.")
    if conn.execute(_ROUTES_NOW, {"run_id": run_id}).first() or not jobs.close_stage(conn, run_id, "route"):
        raise ConfigError("--again: a worker routes with this router now. Wait for it, or pause the run first.")
    enqueue(conn, run_id)
    conn.execute(text("UPDATE run SET finished_at = NULL, blocked_reason = NULL WHERE id = :id"), {"id": run_id})


def store(
    conn: Connection, lease_id: int, job_id: int, run_id: int, config: RunConfig, *, teacher_ids: tuple[int, ...],
    kept: artifacts.Kept, metrics: dict[str, Any], held_out: Mapping[int, list[float] | None] | None = None,
) -> None:  # fmt: skip
    """Complete the training job and keep its router. Raises LeaseLost.

    held_out: by calibration prompt its coefficients by a router that never saw it.
    """
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
            "artifact_place": kept.place,
            "artifact_path": kept.path,
            "artifact_sha256": kept.sha256,
            "metrics": metrics,
            "code_version": persyn.__version__,
            "job_id": job_id,
            "lease_id": lease_id,
        },
    )
    artifacts.store_chunks(conn, kept)
    if held_out:
        conn.execute(
            _KEEP_HELD_OUT,
            [{"run_id": run_id, "prompt_id": prompt_id, "held_out": row} for prompt_id, row in held_out.items()],
        )


def perform(work: Work) -> None:
    """Train the run's router and store it. Raises JobFailed, LeaseLost, ModelError."""
    from persyn.router import train  # noqa: PLC0415 - it loads torch

    run, config = work.run, work.run.config
    with work.engine.connect() as conn:
        measured = matrix.load(conn, run.id, config)
        # Two deployments may share a folder, and number their runs, jobs and leases alike.
        deployment = wake_ups.deployment(conn)
    routers = work.home / "routers" / deployment
    if not (np.isfinite(measured.reward[measured.train]).sum(axis=1) >= 2).any():
        raise JobFailed("no_preferences", _nothing_to_learn(measured), permanent=True)
    # A job that is taken up again after a crash has another lease, and goes on from the same place.
    checkpoint = routers / f"job-{work.claim.id}.checkpoint"
    with work.lease.patience():  # it may be downloaded
        artifacts.try_out()
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
    name = artifacts.name_of(run.id, work.lease.id)
    sha256 = train.save(trained, routers / name, _description(work))
    kept = artifacts.keep(artifacts.ROUTER, routers / name, sha256, f"{deployment}/{name}", work.lease.beat)
    flat = count_degenerate(measured.quality, measured.learnability, measured.reward)._asdict()
    with work.engine.begin() as conn:
        store(
            conn, work.lease.id, work.claim.id, run.id, config,
            teacher_ids=run.teacher_ids, kept=kept,
            metrics=trained.metrics | {f"degenerate_{name}": value for name, value in flat.items()},
            held_out={
                prompt_id: row.tolist() if np.isfinite(row).all() else None
                for prompt_id, row in zip(measured.prompt_ids, trained.held_out, strict=True)
            },
        )  # fmt: skip
    artifacts.settle(kept, work.home)
    checkpoint.unlink(missing_ok=True)  # with the optimiser's state it is several times the router
    log.info("action=train_router lease=%s", work.lease.id)


def _nothing_to_learn(measured: matrix.CalibrationScores) -> str:
    """Why there are no preferences: a scorer without any score, or too few of them on each prompt."""
    mute = [scorer.method for scorer in measured.scores if scorer.weight > 0 and np.isnan(scorer.values).all()]
    whose = f": {' and '.join(mute)} gave no score at all" if mute else ""
    return f"no training prompt has scored answers of two teachers{whose}; audit.failures says what went wrong"


def _description(work: Work) -> dict[str, Any]:
    """The run's part of `router.json`."""
    config = work.run.config
    return {
        "run": work.run.name,
        "teachers": [teacher.name for teacher in config.teachers],
        "alpha": config.alpha,
        "normalisation": config.normalisation,
    }
