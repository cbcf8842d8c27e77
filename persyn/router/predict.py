"""A trained router, loaded to give coefficients for prompts it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from persyn.chat import Messages
from persyn.router import artifact
from persyn.router.dataset import batches, tokenise
from persyn.router.model import RouterModel, choose_device, load_backbone


class Router:
    """`description` is what `router.json` holds, the teachers in coefficient order among it."""

    def __init__(self, folder: Path, expected_sha256: str, backbone_path: str, *, device: str = "auto") -> None:
        """Load an artifact. Raises ModelError if it is not the recorded one or does not fit the backbone."""
        tensors, self.description = artifact.read(folder, expected_sha256)
        self._backbone = load_backbone(backbone_path, revision=self.description["revision"])
        self._device = choose_device(device)
        model = RouterModel(
            self._backbone.network,
            pooling=self.description["pooling"],
            n_teachers=self.description["n_teachers"],
            frozen=self.description["freeze_backbone"],
        )
        model.restore({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
        self._model: Any = model.to(self._device).eval()

    def coefficients(self, prompts: Sequence[Messages], batch_size: int = 64) -> NDArray[np.float64]:
        """(P, M) coefficients, in the prompts' order."""
        rows = tokenise(self._backbone, prompts, self.description["max_length"])
        result = np.zeros((len(rows), self.description["n_teachers"]))
        with torch.inference_mode():
            for batch in batches(rows, batch_size, self._device):
                result[batch.positions] = self._model(batch.ids, batch.attention).double().cpu().numpy()
        return result
