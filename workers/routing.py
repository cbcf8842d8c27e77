"""Draining the router queue: training a run's router, and deciding which teacher answers each prompt."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from persyn import jobs, runs
from persyn.errors import LeaseLost
from persyn.inference import load
from persyn.leases import LeaseKeeper
from persyn.queue import ROUTER
from persyn.rewards import matrix
from persyn.router import store as routers
from persyn.routing import decisions, policies
from workers.failures import failures
from workers.host import Host

log = logging.getLogger(__name__)

BATCH = 512


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
                (_train if claims[0].kind == "train_router" else _route)(host, lease, run, claims[0])
            except LeaseLost:
                raise
            except Failed as exc:
                _fail(host, lease, [jobs.Failure(claims[0].id, exc.code, str(exc), exc.permanent)])
            except Exception as exc:
                _fail(host, lease, failures([claims[0].id], exc))


def _fail(host: Host, lease: LeaseKeeper, failed: list[jobs.Failure]) -> None:
    with host.engine.begin() as conn:
        jobs.fail(conn, lease.id, failed)


class Failed(Exception):
    """A stage's job cannot be done; it ends with a code like any other."""

    def __init__(self, code: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.code, self.permanent = code, permanent


def _train(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim) -> None:
    from persyn.router import train

    with host.engine.connect() as conn:
        measured = matrix.load(conn, run.id, run.config)
    trainable = int((np.isfinite(measured.reward[measured.train]).sum(axis=1) >= 2).sum())
    if trainable == 0:
        message = "no calibration prompt has scored answers of two teachers; audit.failures says what went wrong"
        raise Failed("no_preferences", message, permanent=True)
    backbone = load.model_path(run.config.router.backbone, run.config.router.revision, host.home)
    trained = train.train(
        measured.messages,
        measured.reward,
        measured.train,
        measured.validation,
        run.config.router,
        seed=run.config.seed,
        backbone_path=backbone,
        on_epoch=lambda *_: lease.beat(),
    )
    folder = host.home / "routers" / f"run-{run.id}-lease-{lease.id}"
    sha256 = train.save(
        trained,
        folder,
        {
            "run": run.name,
            "teachers": [teacher.name for teacher in run.config.teachers],
            "alpha": run.config.alpha,
            "normalisation": run.config.normalisation,
        },
    )
    with host.engine.begin() as conn:
        routers.store(
            conn, lease.id, claim.id, run.id, run.config,
            teacher_ids=run.teacher_ids, path=str(folder), sha256=sha256, metrics=trained.metrics,
        )  # fmt: skip
    log.info("action=train_router run=%s lease=%s", run.id, lease.id)


def _route(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim) -> None:
    with host.engine.connect() as conn:
        measured = matrix.load(conn, run.id, run.config)
    if run.config.calibration_answers == "best":
        with host.engine.begin() as conn:
            decisions.store(conn, lease.id, run.id, run.config.policy, list(_best_measured(run, measured)))
    decide = Decider(host, run, measured)
    undecided = decisions.undecided(
        host.engine, run.id, with_calibration=run.config.calibration_answers != "exclude", batch=BATCH
    )
    for batch in undecided:
        lease.beat()
        chosen = decide(batch)
        with host.engine.begin() as conn:
            decisions.store(conn, lease.id, run.id, run.config.policy, chosen)
        log.info("action=route run=%s prompts=%d", run.id, len(chosen))
        if host.stopping.is_set():
            return
    with host.engine.begin() as conn:
        jobs.complete(conn, lease.id, [claim.id])


def _best_measured(run: runs.Run, measured: matrix.Measured) -> Iterator[decisions.Decision]:
    """A calibration prompt needs no router: its best measured answer is already paid for."""
    for prompt_id, reward in zip(measured.prompt_ids, measured.reward, strict=True):
        if np.isnan(reward).all():
            continue  # nothing was measured here, so the policy decides like anywhere else
        ranked = np.sort(reward[~np.isnan(reward)])[::-1]
        margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else None
        yield decisions.Decision(prompt_id, run.teacher_ids[int(np.nanargmax(reward))], "measured", margin=margin)


class Decider:
    """Decides batches of prompts by the run's policy."""

    def __init__(self, host: Host, run: runs.Run, measured: matrix.Measured) -> None:
        self._run, self._measured = run, measured
        self._router_id: int | None = None
        if run.config.policy == "persyn":
            from persyn.router import predict

            with host.engine.connect() as conn:
                stored = routers.find(conn, run.id)
            if stored is None:
                raise Failed("no_router", "the run has no router yet; train it first", permanent=False)
            backbone = load.model_path(run.config.router.backbone, run.config.router.revision, host.home)
            self._router = predict.Router(Path(stored.artifact_path), stored.artifact_sha256, backbone)
            self._router_id = stored.id

    def __call__(self, batch: list[decisions.Undecided]) -> list[decisions.Decision]:
        config = self._run.config
        coefficients = None
        if self._router_id is not None:
            coefficients = self._router.coefficients([prompt.messages for prompt in batch])
        choice = policies.choose(
            config.policy,
            coefficients,
            calibration_quality=self._measured.quality,
            params_b=[teacher.params_b for teacher in config.teachers],
            seed=config.seed,
            prompt_keys=[prompt.sha256 for prompt in batch],
        )
        basis = {"persyn": "router", "strong": "static", "random": "random"}[config.policy]
        return [
            decisions.Decision(
                prompt.prompt_id,
                self._run.teacher_ids[int(teacher)],
                basis,
                self._router_id,
                None if coefficients is None else [float(value) for value in coefficients[row]],
                None if np.isnan(margin) else float(margin),
            )
            for row, (prompt, teacher, margin) in enumerate(
                zip(batch, choice.teacher_index, choice.margin, strict=True)
            )
        ]
