"""Draining the router queue: training a run's router here, deciding which teacher answers each prompt in `deciding`."""

import logging

import numpy as np

from persyn import jobs, runs
from persyn.errors import LeaseLost
from persyn.inference import models
from persyn.jobs.lease_keeper import LeaseKeeper
from persyn.jobs.wake_ups import ROUTER
from persyn.rewards import degenerate, matrix
from persyn.stages import train
from workers.deciding import route_run
from workers.failures import Failed, failures
from workers.worker import Host

log = logging.getLogger(__name__)


def drain_router(host: Host, queue: str = ROUTER) -> None:
    """Do the queue's due jobs, one at a time. Raises LeaseLost, ModelError."""
    while not host.leaving():
        with host.lease(queue) as lease:
            with host.engine.begin() as conn:
                claims = jobs.claim(conn, lease.id, queue, 1)
                run = runs.load(conn, claims[0].run_id) if claims else None
            if run is None:
                return
            try:
                (_train if claims[0].kind == "train_router" else route_run)(host, lease, run, claims[0])
            except LeaseLost:
                raise
            except Failed as exc:
                _fail(host, lease, [jobs.Failure(claims[0].id, exc.code, str(exc), exc.permanent)])
            except Exception as exc:
                _fail(host, lease, failures([claims[0].id], exc))


def _fail(host: Host, lease: LeaseKeeper, failed: list[jobs.Failure]) -> None:
    with host.engine.begin() as conn:
        jobs.fail(conn, lease.id, failed)


def _train(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim) -> None:
    from persyn.router import train as fit

    with host.engine.connect() as conn:
        measured = matrix.load(conn, run.id, run.config)
    trainable = int((np.isfinite(measured.reward[measured.train]).sum(axis=1) >= 2).sum())
    if trainable == 0:
        message = "no calibration prompt has scored answers of two teachers; audit.failures says what went wrong"
        raise Failed("no_preferences", message, permanent=True)
    backbone = models.model_path(run.config.router.backbone, run.config.router.revision, host.home)
    # A job that is taken up again after a crash has another lease, and goes on from the same place.
    checkpoint = host.home / "routers" / f"job-{claim.id}.checkpoint"
    trained = fit.train(
        measured.messages,
        measured.reward,
        measured.train,
        measured.validation,
        run.config.router,
        seed=run.config.seed,
        backbone_path=backbone,
        on_epoch=lambda *_: lease.beat(),
        preferences=run.config.preferences,
        prompt_ids=measured.prompt_ids,
        checkpoint=checkpoint,
        on_step=lambda *_: lease.beat(),
    )
    folder = host.home / "routers" / f"run-{run.id}-lease-{lease.id}"
    sha256 = fit.save(
        trained,
        folder,
        {
            "run": run.name,
            "teachers": [teacher.name for teacher in run.config.teachers],
            "alpha": run.config.alpha,
            "normalisation": run.config.normalisation,
        },
    )
    flat = degenerate.count(measured.quality, measured.learnability, measured.reward)._asdict()
    with host.engine.begin() as conn:
        train.store(
            conn, lease.id, claim.id, run.id, run.config,
            teacher_ids=run.teacher_ids, path=str(folder), sha256=sha256,
            metrics=trained.metrics | {f"degenerate_{name}": value for name, value in flat.items()},
        )  # fmt: skip
    checkpoint.unlink(missing_ok=True)  # with the optimiser's state it is several times the router
    log.info("action=train_router run=%s lease=%s", run.id, lease.id)
