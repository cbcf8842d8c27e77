"""Deciding which teacher answers each prompt, batch by batch, by the run's policy."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from persyn import jobs, runs
from persyn.inference import load
from persyn.leases import LeaseKeeper
from persyn.rewards import matrix
from persyn.router import store as routers
from persyn.routing import decisions, policies
from workers.failures import Failed
from workers.host import Host

log = logging.getLogger(__name__)

BATCH = 512


def route(host: Host, lease: LeaseKeeper, run: runs.Run, claim: jobs.Claim) -> None:
    """Give every prompt of the run its teacher; a run cut short goes on. Raises Failed, LeaseLost, ModelError."""
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
