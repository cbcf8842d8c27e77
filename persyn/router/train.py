"""Trains the router on calibration rewards: P(B ≻ A | x) = σ(zᵀπ(x)), z = +1 at B and -1 at A; binary cross-entropy.

All pairs of a prompt cost one forward pass, since each is a difference of two of the same M coefficients.
The head starts with zero weights and the Bradley-Terry strengths as its bias, which is the best router that does not
look at the prompt, and the state kept is the one with the lowest validation loss, that start included: a prompt set
without a signal gives the static best, never something worse.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from persyn import __version__, config
from persyn.chat import Messages
from persyn.preferences.pairs import pairs
from persyn.router import artifact
from persyn.router.dataset import batches, collate, tokenise
from persyn.router.metrics import evaluate
from persyn.router.model import Backbone, RouterModel, choose_device, load_backbone
from persyn.router.strengths import strengths

Floats = NDArray[np.float64]
Indices = Sequence[int] | NDArray[np.intp]
Features = Callable[[list[int]], Tensor]


class Epoch(NamedTuple):
    """Mean loss per preference, in nats. Epoch 0 is the start, before any step."""

    number: int
    train_loss: float
    validation_loss: float


class Trained(NamedTuple):
    """The best epoch's model, measures on the validation prompts, and every epoch's losses.

    metrics: those of `metrics.evaluate`, where `static_` is the start; `best_epoch`, `validation_loss`,
    `static_validation_loss`, `train_preferences` and `validation_preferences`.
    """

    model: RouterModel
    metrics: dict[str, float | None]
    epochs: list[Epoch]
    config: config.Router
    seed: int


def bradley_terry_loss(coefficients: Tensor, rewards: Tensor) -> Tensor:
    """The mean binary cross-entropy over all preferences in a batch, both arguments (B, M); 0 where there are none.

    Ties and missing rewards (NaN) are no preferences.
    """
    first, second = torch.triu_indices(rewards.shape[1], rewards.shape[1], offset=1, device=rewards.device)
    gap = rewards[:, first] - rewards[:, second]
    preferred = torch.sign(gap.nan_to_num(nan=0.0))
    lead = coefficients[:, first] - coefficients[:, second]
    counted = preferred != 0
    return torch.where(counted, softplus(-preferred * lead), 0.0).sum() / counted.sum().clamp(min=1)


def train(
    prompts: Sequence[Messages],
    rewards: Floats,
    train_idx: Indices,
    val_idx: Indices,
    config: config.Router,
    seed: int,
    backbone_path: str,
    on_epoch: Callable[[Epoch], None] | None = None,
    *,
    device: str = "auto",
) -> Trained:
    """Train on prompts[train_idx], stop and measure by prompts[val_idx].

    rewards: (P, M) combined rewards, NaN where missing. The same arguments give the same router on the same machine.
    Raises ModelError if the backbone cannot be loaded.
    """
    place = choose_device(device)
    backbone = load_backbone(backbone_path, revision=config.revision)
    fixed = strengths(pairs(rewards[train_idx]), rewards.shape[1])
    with torch.random.fork_rng():  # dropout draws from the global generator, which is the caller's
        torch.manual_seed(seed)
        model = RouterModel(
            backbone.network, pooling=config.pooling, n_teachers=rewards.shape[1], frozen=config.freeze_backbone
        ).to(place)
        with torch.no_grad():
            model.head.bias.copy_(torch.from_numpy(fixed))
        run = _Training(model, backbone, prompts, rewards, config, seed, place)
        epochs, best = run.fit(list(train_idx), list(val_idx), on_epoch)
        coefficients = run.coefficients(list(val_idx)).double().cpu().numpy()
    metrics = evaluate(coefficients, rewards[val_idx], static=fixed)
    metrics |= {
        "best_epoch": float(best.number),
        "validation_loss": best.validation_loss,
        "static_validation_loss": epochs[0].validation_loss,
        "train_preferences": float(len(pairs(rewards[train_idx]).prompt)),
        "validation_preferences": float(len(pairs(rewards[val_idx]).prompt)),
    }
    return Trained(model.eval(), metrics, epochs, config, seed)


def save(trained: Trained, folder: Path, meta: dict[str, Any]) -> str:
    """Write the router and return the artifact's sha256.

    meta: what the caller knows of it and `router.json` should tell: the teachers in coefficient order, α, the
    normalisation.
    """
    tensors = {name: tensor.float().numpy() for name, tensor in trained.model.trained_state().items()}
    description = {
        **meta,
        **trained.config.model_dump(mode="json"),
        "n_teachers": trained.model.head.out_features,
        "seed": trained.seed,
        "versions": {"persyn": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    return artifact.write(folder, tensors, description)


class _Training:
    """One router in training: the model, its data on the device, and where a batch's vectors come from."""

    def __init__(
        self,
        model: RouterModel,
        backbone: Backbone,
        prompts: Sequence[Messages],
        rewards: Floats,
        config: config.Router,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.device = model, config, device
        self.rows = tokenise(backbone, prompts, config.max_length)
        self.rewards = torch.from_numpy(rewards).to(device)
        self.order = np.random.default_rng(seed)
        # A frozen backbone says the same every epoch, so it is asked once.
        self.cache = self._embed_all() if config.freeze_backbone else None
        bias = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim < 2]
        weights = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim >= 2]
        # Decay pulls towards the start (weights of zero), not away from it: the bias starts at the strengths.
        groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": bias, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)

    def fit(
        self, train_idx: list[int], val_idx: list[int], on_epoch: Callable[[Epoch], None] | None
    ) -> tuple[list[Epoch], Epoch]:
        """Train until `patience` epochs in a row brought no better validation loss; leaves the best state."""
        epochs = [Epoch(0, self._loss(train_idx), self._loss(val_idx))]
        best, state = epochs[0], self.model.trained_state()
        report = on_epoch or (lambda epoch: None)
        report(best)
        while len(epochs) <= self.config.epochs and epochs[-1].number - best.number < self.config.patience:
            epochs.append(Epoch(len(epochs), self._pass(train_idx), self._loss(val_idx)))
            if epochs[-1].validation_loss < best.validation_loss:
                best, state = epochs[-1], self.model.trained_state()
            report(epochs[-1])
        self.model.restore(state)
        return epochs, best

    def coefficients(self, indices: list[int]) -> Tensor:
        """(len(indices), M), in evaluation mode and without gradients."""
        self.model.eval()
        result = torch.zeros(len(indices), self.model.head.out_features, device=self.device)
        with torch.no_grad():
            for start in range(0, len(indices), self.config.batch_size):
                result[start : start + self.config.batch_size] = self._forward(
                    indices[start : start + self.config.batch_size]
                )
        return result

    def _pass(self, indices: list[int]) -> float:
        """One epoch of steps; the mean of the batches' losses."""
        self.model.train(not self.config.freeze_backbone)
        shuffled = self.order.permutation(indices).tolist()
        losses = []
        for start in range(0, len(shuffled), self.config.batch_size):
            part = shuffled[start : start + self.config.batch_size]
            loss = bradley_terry_loss(self._forward(part), self.rewards[part])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            losses.append(float(loss.detach()))
        return sum(losses) / max(len(losses), 1)

    def _loss(self, indices: list[int]) -> float:
        return float(bradley_terry_loss(self.coefficients(indices), self.rewards[indices]))

    def _forward(self, part: list[int]) -> Tensor:
        if self.cache is not None:
            return torch.nn.functional.linear(self.cache[part], self.model.head.weight, self.model.head.bias)
        result: Tensor = self.model(*collate([self.rows[index] for index in part], self.device))
        return result

    def _embed_all(self) -> Tensor:
        vectors = torch.zeros(len(self.rows), self.model.head.in_features, device=self.device)
        self.model.eval()
        with torch.no_grad():
            for batch in batches(self.rows, self.config.batch_size, self.device):
                vectors[batch.positions] = self.model.embed(batch.ids, batch.attention)
        return vectors
