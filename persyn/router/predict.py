"""Loads a trained router, which gives coefficients for prompts that it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from persyn.chat import Messages
from persyn.inference.loading import choose_device
from persyn.router import artifact
from persyn.router.dataset import tokenise
from persyn.router.head import Head, Progress, unwatched
from persyn.router.kernel_features import centre_and_spread, scaled
from persyn.router.model import RouterModel, load_backbone
from persyn.router.neighbours import nearest
from persyn.router.train import prompt_vectors


class Prediction(NamedTuple):
    """A router's coefficients for P prompts, and the training prompts that lie nearest to each."""

    coefficients: NDArray[np.float64]  # (P, M)
    neighbour_ids: list[list[int]]  # for each prompt the ids of the nearest calibration training prompts, nearest first


class LoadedRouter:
    """`description` holds the content of `router.json`, which includes the teachers in coefficient order."""

    def __init__(self, folder: Path, expected_sha256: str, backbone_path: str, *, device: str = "auto") -> None:
        """Load an artifact. Raises ModelError if it is not the recorded one or does not fit the backbone."""
        tensors, self.description = artifact.read(folder, expected_sha256)
        self._backbone = load_backbone(
            backbone_path,
            revision=self.description["revision"],
            dtype=self.description.get("backbone_dtype", "float32"),  # the only one when artifacts did not name it
        )
        self._model = RouterModel(
            self._backbone.network,
            pooling=self.description["pooling"],
            n_teachers=self.description["n_teachers"],
            frozen=self.description["freeze_backbone"],
        ).to(choose_device(device))
        known = tensors["calibration.vectors"].astype(np.float64)
        self.head = Head.from_tensors(self.description["kernel"], self.description.get("pooled"), tensors, known)
        calibration = self.pooled(known)
        self._scale = centre_and_spread(calibration)
        self._known = scaled(calibration, *self._scale)
        if not self.description["freeze_backbone"]:
            trained = {name: tensor for name, tensor in tensors.items() if name.startswith(("backbone.", "head."))}
            self._model.restore({name: torch.from_numpy(tensor) for name, tensor in trained.items()})
        self._model.eval()

    def coefficients(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, M) coefficients, in the prompts' order."""
        return self.head.coefficients(self.vectors(prompts, batch_size))

    def predict(
        self, prompts: Sequence[Messages], neighbours: int, batch_size: int = 64, on_progress: Progress = unwatched
    ) -> Prediction:
        """Coefficients and the nearest calibration training prompts by cosine, from one forward pass.

        neighbours: how many of them each prompt gets. on_progress: called after each batch.
        """
        vectors = self.vectors(prompts, batch_size, on_progress)
        ids = self.description["prompt_ids"]
        near = (
            nearest(scaled(self.pooled(vectors), *self._scale), self._known, neighbours) if ids else [()] * len(vectors)
        )
        return Prediction(self.head.coefficients(vectors), [[ids[row] for row in rows] for rows in near])

    def vectors(
        self, prompts: Sequence[Messages], batch_size: int = 64, on_progress: Progress = unwatched
    ) -> NDArray[np.float64]:
        """(P, D) vectors that the head reads; see `train.prompt_vectors`."""
        rows = tokenise(self._backbone, prompts, self.description["max_length"])
        features = self.head.features
        with_surface = features.pooled < len(features.centre)
        return prompt_vectors(
            self._model, rows, prompts, with_surface=with_surface, batch_size=batch_size, on_progress=on_progress
        )

    def pooled(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, pooled): the part of `vectors` that the backbone made."""

        return vectors[:, : self.head.features.pooled]
