"""A trained router, loaded to give coefficients for prompts it has not seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from persyn.chat import Messages
from persyn.router import artifact
from persyn.router.dataset import tokenise
from persyn.router.features import scaled, standard
from persyn.router.head import Head
from persyn.router.model import RouterModel, choose_device, load_backbone
from persyn.router.train import embed


class Router:
    """`description` is what `router.json` holds, the teachers in coefficient order among it."""

    def __init__(self, folder: Path, expected_sha256: str, backbone_path: str, *, device: str = "auto") -> None:
        """Load an artifact. Raises ModelError if it is not the recorded one or does not fit the backbone."""
        tensors, self.description = artifact.read(folder, expected_sha256)
        self._backbone = load_backbone(backbone_path, revision=self.description["revision"])
        self._model = RouterModel(
            self._backbone.network,
            pooling=self.description["pooling"],
            n_teachers=self.description["n_teachers"],
            frozen=self.description["freeze_backbone"],
        ).to(choose_device(device))
        self.head = Head.from_tensors(self.description["kernel"], tensors)
        self._calibration = tensors["calibration.vectors"].astype(np.float64)
        if not self.description["freeze_backbone"]:
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(("backbone.", "head."))}
            self._model.restore({name: torch.from_numpy(tensor) for name, tensor in own.items()})
        self._model.eval()

    def coefficients(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, M) coefficients, in the prompts' order."""
        return self.head.coefficients(self.vectors(prompts, batch_size))

    def neighbours(self, prompts: Sequence[Messages], k: int) -> list[list[int]]:
        """The ids of each prompt's `k` nearest calibration training prompts by cosine, nearest first."""
        place = standard(self._calibration)
        near = scaled(self.vectors(prompts), *place) @ scaled(self._calibration, *place).T
        ids = self.description["prompt_ids"]
        return [[ids[index] for index in row[:k]] for row in np.argsort(-near, axis=1, kind="stable")]

    def vectors(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, D): what the head and `neighbours` see of the prompts."""
        return embed(self._model, tokenise(self._backbone, prompts, self.description["max_length"]), batch_size)
