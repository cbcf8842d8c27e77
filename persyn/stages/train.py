"""Stage 3, training: the router learns from the calibration rewards, and its row says which artifact it is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

import persyn
from persyn import jobs, runs
from persyn.config import RunConfig
from persyn.errors import ConfigError, JobFailed
from persyn.inference import models
from persyn.jobs import wake_ups
from persyn.jobs.wake_ups import ROUTER
from persyn.rewards import matrix, routed
from persyn.rewards.combine import count_degenerate
from persyn.router.off_policy import RoutedAnswers
from persyn.stages import artifacts
from persyn.stages.work import Work
from persyn.states import Stage

Floats = NDArray[np.float64]

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
_BEGIN_AGAIN = text("""
UPDATE run SET finished_at = NULL, blocked_reason = NULL, with_routed = :with_routed WHERE id = :id
""")
_HELD_OUT = text("SELECT prompt_id, held_out_coefficients FROM calibration_prompt WHERE run_id = :run_id")
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
    job_id: int  # that trained it


def enqueue(conn: Connection, run_id: int) -> int:
    """The one job that trains the run's router; returns 1 if it is new."""
    return jobs.enqueue_stage(conn, run_id, "train_router", ROUTER, Stage.TRAIN)


def find(conn: Connection, run_id: int) -> StoredRouter | None:
    """The router that the run goes by, its own or another run's; None where it has none yet."""
    row = conn.execute(
        text("""
        SELECT router.id, backbone, artifact_place, artifact_path, artifact_sha256, metrics, router.job_id
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


def again(conn: Connection, run_id: int, *, with_routed: bool = False) -> None:
    """Let the run's router be trained anew; decisions that it made stay, and none is made meanwhile.

    with_routed: from the measured answers to routed prompts too. Raises ConfigError where the run has no router of its
    own, a worker routes with it now, or there is nothing to learn from routed prompts.
    """
    run, option = runs.load(conn, run_id), "--with-routed" if with_routed else "--again"
    if run.router_run_id != run_id:
        owner = runs.load(conn, run.router_run_id).name
        raise ConfigError(f"{option}: the run goes by the router of {owner!r}. Train that one anew.")
    if find(conn, run_id) is None:
        raise ConfigError(f"{option}: the run has no router yet. Leave {option} out.")
    if with_routed:
        _require_routed(conn, run)
    if conn.execute(_ROUTES_NOW, {"run_id": run_id}).first() or not jobs.close_stage(conn, run_id, "route"):
        raise ConfigError(f"{option}: a worker routes with this router now. Wait for it, or pause the run first.")
    enqueue(conn, run_id)
    conn.execute(_BEGIN_AGAIN, {"id": run_id, "with_routed": with_routed})


def _require_routed(conn: Connection, run: runs.Run) -> None:
    """Raises ConfigError where the run's router cannot learn from routed prompts, or none can teach it."""
    settings = run.config.router
    if not settings.freeze_backbone or settings.head != "cross_validated":
        raise ConfigError(
            "--with-routed: only a cross-validated head on a frozen backbone learns from routed prompts. Set"
            " router.freeze_backbone: true and router.head: cross_validated in a run of another name."
        )
    if not routed.has_probabilities(conn, run.id):
        raise ConfigError(
            f"--with-routed: no decision by the router of {run.name!r} has a probability, because no run explored. Set"
            " policy_options.explore: 0.02 in a run of another name, and route more prompts with"
            f" `persyn run NEW.yaml --router-of {run.name}`."
        )
    measured = matrix.load(conn, run.id, run.config)
    if not routed.load(conn, run.id, run.config, measured).prompts:
        raise ConfigError(
            f"--with-routed: no answer to a prompt that the router of {run.name!r} has routed is measured yet. Set"
            " scorers.score: all, or wait until some are scored."
        )


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
        answers = routed.load(conn, run.id, config, measured) if run.with_routed else None
        before = _held_out(conn, run.id, measured)
        # Two deployments may share a folder, and number their runs, jobs and leases alike.
        deployment = wake_ups.deployment(conn)
    work.warm.drop()  # another router would take the memory that this one needs
    routers = work.home / "routers" / deployment
    _refuse_nothing(measured)
    # A job that is taken up again after a crash has another lease, and goes on from the same place.
    checkpoint = routers / f"job-{work.claim.id}.checkpoint"
    with work.lease.patience():  # it may be downloaded
        artifacts.try_out()
        backbone_path = models.model_path(config.router.backbone, config.router.revision, work.home)
    trained = train.train(
        measured.messages, measured.reward, measured.train, measured.validation, config.router,
        seed=config.seed, backbone_path=backbone_path, preferences=config.preferences, prompt_ids=measured.prompt_ids,
        routed=None if answers is None else RoutedAnswers(*answers), checkpoint=checkpoint,
        on_epoch=lambda *_: work.lease.beat(), on_step=lambda *_: work.lease.beat(),
        on_progress=work.lease.beat, while_loading=work.lease.patience,
    )  # fmt: skip
    name = artifacts.name_of(run.id, work.lease.id)
    sha256 = train.save(trained, routers / name, _description(work))
    kept = artifacts.keep(artifacts.ROUTER, routers / name, sha256, f"{deployment}/{name}", work.lease.beat)
    metrics = trained.metrics | _degenerate(measured)
    if answers is not None:
        metrics |= _routed_metrics(measured, answers, before, trained.held_out)
    with work.engine.begin() as conn:
        store(
            conn, work.lease.id, work.claim.id, run.id, config, teacher_ids=run.teacher_ids, kept=kept, metrics=metrics,
            held_out={
                prompt_id: row.tolist() if np.isfinite(row).all() else None
                for prompt_id, row in zip(measured.prompt_ids, trained.held_out, strict=True)
            },
        )  # fmt: skip
    artifacts.settle(kept, work.home)
    checkpoint.unlink(missing_ok=True)  # with the optimiser's state it is several times the router
    log.info("action=train_router lease=%s", work.lease.id)


def _degenerate(measured: matrix.CalibrationScores) -> dict[str, Any]:
    flat = count_degenerate(measured.quality, measured.learnability, measured.reward)._asdict()
    return {f"degenerate_{name}": value for name, value in flat.items()}


def _held_out(conn: Connection, run_id: int, measured: matrix.CalibrationScores) -> Floats:
    """(C, M) the coefficients of the calibration prompts by the router that is there, NaN where there are none."""
    found = np.full(measured.reward.shape, np.nan)
    row_of = {prompt_id: row for row, prompt_id in enumerate(measured.prompt_ids)}
    for row in conn.execute(_HELD_OUT, {"run_id": run_id}):
        if row.held_out_coefficients is not None:
            found[row_of[row.prompt_id]] = row.held_out_coefficients
    return found


def _routed_metrics(
    measured: matrix.CalibrationScores, answers: routed.RoutedScores, before: Floats, after: Floats
) -> dict[str, Any]:
    """The routed prompts that taught the router, and its reward on the validation prompts minus that of the one before.

    `routed_gain` is [mean, low, high] with the 95% bootstrap interval over prompts, None where there is no such prompt.
    """
    from persyn.router.metrics import bootstrap, chosen_reward  # noqa: PLC0415 - scipy takes its time

    tested = measured.validation[np.isfinite(before[measured.validation]).all(axis=1)]
    rewards = measured.reward[tested]
    gain = bootstrap(chosen_reward(after[tested], rewards) - chosen_reward(before[tested], rewards))
    return {
        "routed_prompts": len(answers.prompts),
        "routed_answers": int(np.isfinite(answers.values).sum()),
        "routed_gain": None if gain is None else list(gain),
    }


def _refuse_nothing(measured: matrix.CalibrationScores) -> None:
    """Raises JobFailed where there are no preferences: a scorer gave no score, or too few prompts have theirs."""
    if (np.isfinite(measured.reward[measured.train]).sum(axis=1) >= 2).any():
        return
    mute = [scorer.method for scorer in measured.scores if scorer.weight > 0 and np.isnan(scorer.values).all()]
    whose = f": {' and '.join(mute)} gave no score at all" if mute else ""
    told = f"no training prompt has scored answers of two teachers{whose}; audit.failures says what went wrong"
    raise JobFailed("no_preferences", told, permanent=True)


def _description(work: Work) -> dict[str, Any]:
    """The run's part of `router.json`."""
    config = work.run.config
    return {
        "run": work.run.name,
        "teachers": [teacher.name for teacher in config.teachers],
        "alpha": config.alpha,
        "normalisation": config.normalisation,
    }
