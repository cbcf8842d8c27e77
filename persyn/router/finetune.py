"""Trains the whole router, backbone and head, by gradient steps; goes on from a checkpoint when it was killed.

The head starts with zero weights and the Bradley-Terry strengths as its bias, the best router that does not look at
the prompt. Prompts kept aside from the training ones say when to stop, and the state kept is the one with their
lowest loss, that start included: a prompt set without a signal gives the static best, never something worse.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from persyn import config
from persyn.preferences.pairs import Pairs, pairs
from persyn.router.dataset import collate
from persyn.router.model import RouterModel

Floats = NDArray[np.float64]


class Epoch(NamedTuple):
    """Mean loss per preference, in nats. Epoch 0 is the start, before any step."""

    number: int
    train_loss: float
    held_out_loss: float


def bradley_terry_loss(coefficients: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Summed cross-entropy of σ(zᵀπ(x)) over all pairs: coefficients (B, M), target and weight (B, K); see `pairs`."""
    first, second = torch.triu_indices(
        coefficients.shape[1], coefficients.shape[1], offset=1, device=coefficients.device
    )
    lead = coefficients[:, first] - coefficients[:, second]
    return (weight * (softplus(lead) - target * lead)).sum()


def finetune(
    model: RouterModel,
    rows: Sequence[list[int]],
    rewards: Floats,
    config: config.Router,
    preferences: config.Preferences,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place on all rows (token ids) and rewards (P, M); leaves the best epoch's state.

    With `checkpoint` its state is written there every `checkpoint_steps` steps and every epoch, and what is there is
    gone on from. On one machine a training that was killed ends in the very state of one that was not.
    """
    with torch.random.fork_rng():  # dropout draws from the global generator, which is the caller's
        torch.manual_seed(seed)
        run = _Training(model, rows, pairs(rewards, **preferences.model_dump()), config, seed, checkpoint)
        return run.fit(on_epoch or (lambda epoch: None), on_step or (lambda step: None))


class _Training:
    def __init__(
        self, model: RouterModel, rows: Sequence[list[int]], known: Pairs, config: config.Router, seed: int,
        checkpoint: Path | None,
    ) -> None:  # fmt: skip
        self.model, self.rows, self.config, self.seed, self.checkpoint = model, rows, config, seed, checkpoint
        self.device = model.head.weight.device
        self.target = torch.from_numpy(known.target).float().to(self.device)
        self.weight = torch.from_numpy(known.weight).float().to(self.device)
        order = np.random.default_rng(seed).permutation(len(rows))
        aside = max(1, round(config.held_out * len(rows)))
        self.held_out, self.training = order[:aside].tolist(), order[aside:].tolist()
        if config.gradient_checkpointing:
            model.backbone.gradient_checkpointing_enable()
        flat = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim < 2]
        weights = [tensor for tensor in model.parameters() if tensor.requires_grad and tensor.ndim >= 2]
        # Decay pulls towards the start (weights of zero), not away from it: the bias starts at the strengths.
        groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        self.epochs: list[Epoch] = []
        self.step, self.running = 0, 0.0  # within the epoch: steps done, and the weighted loss so far
        self.best = model.trained_state()

    def fit(self, on_epoch: Callable[[Epoch], None], on_step: Callable[[int], None]) -> list[Epoch]:
        if not self._resume():
            self.epochs = [Epoch(0, self._loss(self.training), self._loss(self.held_out))]
        for epoch in self.epochs:
            on_epoch(epoch)
        while len(self.epochs) <= self.config.epochs and len(self.epochs) - 1 - self._best() < self.config.patience:
            train_loss = self._pass(on_step)
            self.epochs.append(Epoch(len(self.epochs), train_loss, self._loss(self.held_out)))
            if self._best() == len(self.epochs) - 1:
                self.best = self.model.trained_state()
            self.step, self.running = 0, 0.0
            self._save()
            on_epoch(self.epochs[-1])
        self.model.restore({name: tensor.to(self.device) for name, tensor in self.best.items()})
        return self.epochs

    def _best(self) -> int:
        return min(self.epochs, key=lambda epoch: epoch.held_out_loss).number  # of equals the first

    def _pass(self, on_step: Callable[[int], None]) -> float:
        """One epoch's steps, from the one where a killed training was; the mean loss per weight of a preference."""
        self.model.train()
        shuffled = np.random.default_rng([self.seed, len(self.epochs)]).permutation(self.training).tolist()
        size = self.config.batch_size * self.config.accumulation
        for number, start in enumerate(range(0, len(shuffled), size)):
            if number < self.step:
                continue
            part = shuffled[start : start + size]
            total = self.weight[part].sum().clamp(min=1e-12)
            self.optimiser.zero_grad()
            for at in range(0, len(part), self.config.batch_size):
                batch = part[at : at + self.config.batch_size]
                loss = bradley_terry_loss(self._forward(batch), self.target[batch], self.weight[batch])
                (loss / total).backward()
                self.running += float(loss.detach())
            self.optimiser.step()
            self.step = number + 1
            if self.step % self.config.checkpoint_steps == 0:
                self._save()
            on_step(self.step)
        return self.running / max(float(self.weight[shuffled].sum()), 1e-12)

    def _loss(self, indices: list[int]) -> float:
        self.model.eval()
        loss = 0.0
        with torch.no_grad():
            for start in range(0, len(indices), self.config.batch_size):
                part = indices[start : start + self.config.batch_size]
                loss += float(bradley_terry_loss(self._forward(part), self.target[part], self.weight[part]))
        return loss / max(float(self.weight[indices].sum()), 1e-12)

    def _forward(self, part: list[int]) -> Tensor:
        half = self.config.dtype == "bfloat16" or (self.config.dtype == "auto" and self.device.type == "cuda")
        context = torch.autocast(self.device.type, torch.bfloat16) if half else contextlib.nullcontext()
        with context:
            vectors = self.model.embed(*collate([self.rows[index] for index in part], self.device))
        result: Tensor = self.model.head(vectors.float())  # the head's margins are finer than bfloat16
        return result

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "model": self.model.trained_state(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "epochs": [list(epoch) for epoch in self.epochs],
            "step": self.step,
            "running": self.running,
            "random": torch.get_rng_state(),
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.checkpoint.parent, prefix=".checkpoint.", delete=False) as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self.checkpoint)

    def _resume(self) -> bool:
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.model.restore(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.step, self.running = state["best"], state["step"], state["running"]
        self.epochs = [Epoch(*epoch) for epoch in state["epochs"]]
        torch.set_rng_state(state["random"])
        return True
