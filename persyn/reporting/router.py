"""Compares a run's router with everything else that could choose the teachers, on the validation prompts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from persyn import runs
from persyn.chat import Messages
from persyn.config import RunConfig
from persyn.errors import ConfigError, NotFound
from persyn.inference import models
from persyn.rewards import matrix
from persyn.rewards.matrix import CalibrationScores
from persyn.router import evaluation
from persyn.router.predict import LoadedRouter
from persyn.stages import train
from persyn.stages.train import StoredRouter

EMBEDDED_AT_ONCE = 64  # prompts between two calls of `on_progress`

OnProgress = Callable[[str, int, int], None]  # what is done, how many prompts are done, of how many


def evaluate(engine: Engine, run: str, home: Path, *, with_curve: bool, on_progress: OnProgress) -> dict[str, Any]:
    """`evaluation.table` of the run by its name or number, JSON-ready; `with_routed`: what routed prompts taught.

    Raises NotFound without a router or a prompt that offers a choice, ConfigError for a curve that would be untrue.
    """
    with engine.connect() as conn:
        loaded = runs.load(conn, runs.find(conn, run))
        stored, measured = train.find(conn, loaded.id), matrix.load(conn, loaded.id, loaded.config)
    stored = _require(loaded, stored, measured, with_curve)
    config, rewards = loaded.config, measured.reward
    taught, tested = measured.train, measured.validation
    backbone = models.model_path(config.router.backbone, config.router.revision, home)
    router = LoadedRouter(train.folder(engine, stored, home), stored.artifact_sha256, backbone)
    vectors = _vectors(router, measured.messages, on_progress)
    pooled = router.pooled(vectors)
    choices = {
        "router": router.head.coefficients(vectors[tested]),
        **evaluation.baselines(pooled[taught], rewards[taught], pooled[tested], rewards[tested], seed=config.seed),
    }
    teachers = [teacher.name for teacher in config.teachers]
    table = evaluation.table(choices, rewards[tested], teachers, seed=config.seed)
    taught_by = {key: value for key, value in stored.metrics.items() if key.startswith("routed_")}
    result = {"run": loaded.name, "teachers": teachers, **table, "with_routed": taught_by or None}
    if with_curve:
        result["curve"] = _curve(config, vectors, measured, on_progress)
    return result


def _require(run: runs.Run, stored: StoredRouter | None, measured: CalibrationScores, with_curve: bool) -> StoredRouter:
    """The run's router, where all is there that the evaluation needs. Raises as `evaluate`."""
    if stored is None:
        raise NotFound(f"Run {run.name} has no router yet. `persyn router train {run.name}` trains it.")
    if not ((~np.isnan(measured.reward[measured.validation])).sum(axis=1) >= 2).any():
        raise NotFound(f"Run {run.name} has no validation prompt with scored answers of two teachers.")
    if with_curve and not run.config.router.freeze_backbone:
        raise ConfigError(
            f"Run {run.name} trained its backbone on all training prompts, so a curve over fewer of them would not be"
            " true. Leave out --curve and --plot, or set router.freeze_backbone: true in a run of another name."
        )
    return stored


def _vectors(router: LoadedRouter, prompts: Sequence[Messages], on_progress: OnProgress) -> NDArray[np.float64]:
    """(P, D) of the router's backbone."""
    parts = []
    for start in range(0, len(prompts), EMBEDDED_AT_ONCE):
        parts.append(router.vectors(prompts[start : start + EMBEDDED_AT_ONCE]))
        on_progress("Embedding", start + len(parts[-1]), len(prompts))
    return np.vstack(parts)


def _curve(
    config: RunConfig, vectors: NDArray[np.float64], measured: CalibrationScores, on_progress: OnProgress
) -> list[dict[str, Any]]:
    """`evaluation.curve` of the run; a point counts as the prompts that it is trained on."""
    taught, tested, rewards = measured.train, measured.validation, measured.reward
    total, done = sum(evaluation.curve_sizes(len(taught))), 0

    def on_point(prompts: int) -> None:
        nonlocal done
        done += prompts
        on_progress("Training on fewer", done, total)

    return evaluation.curve(
        vectors[taught], rewards[taught], vectors[tested], rewards[tested], config.router, config.preferences,
        seed=config.seed, on_point=on_point,
    )  # fmt: skip
