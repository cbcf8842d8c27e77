"""A trained router, loaded to give coefficients for prompts it has not seen."""

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
from persyn.router.head import Head
from persyn.router.kernel_features import scaled, standard
from persyn.router.model import RouterModel, load_backbone
from persyn.router.neighbours import nearest
from persyn.router.train import see


class Look(NamedTuple):
    """What a router sees and says of P prompts."""

    coefficients: NDArray[np.float64]  # (P, M)
    neighbour_ids: list[list[int]]  # of each prompt, the nearest calibration training prompts, nearest first


class Router:
    """`description` is what `router.json` holds, the teachers in coefficient order among it."""

    def __init__(self, folder: Path, expected_sha256: str, backbone_path: str, *, device: str = "auto") -> None:
        """Load an artifact. Raises ModelError if it is not the recorded one or does not fit the backbone."""
        tensors, self.description = artifact.read(folder, expected_sha256)
        self._backbone = load_backbone(
            backbone_path,
            revision=self.description["revision"],
            dtype=self.description.get("backbone_dtype", "float32"),  # an older artifact's only one
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
        self._place = standard(calibration)
        self._known = scaled(calibration, *self._place)
        if not self.description["freeze_backbone"]:
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(("backbone.", "head."))}
            self._model.restore({name: torch.from_numpy(tensor) for name, tensor in own.items()})
        self._model.eval()

    def coefficients(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, M) coefficients, in the prompts' order."""
        return self.head.coefficients(self.vectors(prompts, batch_size))

    def look(self, prompts: Sequence[Messages], neighbours: int, batch_size: int = 64) -> Look:
        """Coefficients and so many nearest calibration training prompts by cosine, from one forward pass."""
        vectors = self.vectors(prompts, batch_size)
        ids = self.description["prompt_ids"]
        near = (
            nearest(scaled(self.pooled(vectors), *self._place), self._known, neighbours) if ids else [()] * len(vectors)
        )
        return Look(self.head.coefficients(vectors), [[ids[row] for row in rows] for rows in near])

    def vectors(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, D): what `look` sees of the prompts."""
        rows = tokenise(self._backbone, prompts, self.description["max_length"])
        made = self.head.features
        return see(self._model, rows, prompts, beside=made.pooled < len(made.centre), batch_size=batch_size)

    def pooled(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of `vectors` that the backbone made."""
        return vectors[:, : self.head.features.pooled]
