"""The router that a run goes by, loaded to be asked. A worker keeps it loaded from one job to the next."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from persyn.errors import JobFailed
from persyn.inference import models
from persyn.stages import train
from persyn.stages.ranges import Undecided
from persyn.stages.work import Work

NEIGHBOURS = 5  # calibration prompts kept with a router's decision


class RouterOutput(NamedTuple):
    """The router's output for a batch: coefficients (B, M), and for each prompt the nearest calibration prompts."""

    coefficients: NDArray[np.float64]
    neighbour_ids: list[list[int] | None]


def stored(work: Work) -> train.StoredRouter:
    """Raises JobFailed where the run has no router yet."""
    with work.engine.connect() as conn:
        found = train.find(conn, work.run.id)
    if found is None:
        raise JobFailed("no_router", "the run has no router yet; train it first", permanent=False)
    return found


class RunRouter:
    """The run's router, loaded to be asked."""

    def __init__(self, work: Work, stored: train.StoredRouter) -> None:
        """Raises ModelError where it cannot be loaded."""
        from persyn.router import predict  # noqa: PLC0415 - it loads torch

        config = work.run.config.router

        def load() -> predict.LoadedRouter:
            backbone = models.model_path(config.backbone, config.revision, work.home)
            folder = train.folder(work.engine, stored, work.home)
            return predict.LoadedRouter(folder, stored.artifact_sha256, backbone)

        with work.lease.patience():
            key = ("router", stored.artifact_sha256, config.backbone, config.revision)
            self._router = work.warm.get(key, load)
        self._beat = work.lease.beat
        self.id = stored.id

    def ask(self, batch: Sequence[Undecided]) -> RouterOutput:
        """Coefficients and neighbours of the prompts, in their order."""
        prediction = self._router.predict([prompt.messages for prompt in batch], NEIGHBOURS, on_progress=self._beat)
        return RouterOutput(prediction.coefficients, [*prediction.neighbour_ids])
