"""A trained router, loaded to give coefficients for prompts it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from persyn.chat import Messages
from persyn.router import artifact
from persyn.router.dataset import batches, tokenise
from persyn.router.model import RouterModel, choose_device, load_backbone


class Look(NamedTuple):
    coefficients: NDArray[np.float64]  # (P, M)
    vectors: NDArray[np.float32]  # (P, H): the prompts as the head sees them


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
        return self.look(prompts, batch_size).coefficients

    def look(self, prompts: Sequence[Messages], batch_size: int = 64) -> Look:
        """Coefficients and vectors by one forward pass, in the prompts' order."""
        rows = tokenise(self._backbone, prompts, self.description["max_length"])
        head = self._model.head
        coefficients = np.zeros((len(rows), head.out_features))
        vectors = np.zeros((len(rows), head.in_features), dtype=np.float32)
        with torch.inference_mode():
            for batch in batches(rows, batch_size, self._device):
                embedded = self._model.embed(batch.ids, batch.attention)
                coefficients[batch.positions] = head(embedded).double().cpu().numpy()
                vectors[batch.positions] = embedded.cpu().numpy()
        return Look(coefficients, vectors)
