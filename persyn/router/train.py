"""Trains the router on calibration rewards: P(B ≻ A | x) = σ(zᵀπ(x)), z = +1 at B and -1 at A; binary cross-entropy.

All pairs of a prompt cost one forward pass, since each is a difference of two of the same M coefficients.
A frozen backbone is asked once for each prompt's vector, and the head is a convex fit (see `head`) to that and to how
the prompt is written (see `surface`); otherwise the whole model is trained (see `finetune`). The validation prompts are
only measured, never trained on or stopped by.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from persyn import __version__, config
from persyn.chat import Messages
from persyn.inference.loading import choose_device
from persyn.router import artifact, head
from persyn.router.dataset import batches, tokenise
from persyn.router.finetune import Epoch, finetune
from persyn.router.kernel_features import unchanged
from persyn.router.metrics import evaluate
from persyn.router.model import Backbone, RouterModel, load_backbone
from persyn.router.preferences import pairs
from persyn.router.surface_features import surface

Floats = NDArray[np.float64]
Indices = Sequence[int] | NDArray[np.intp]


class Trained(NamedTuple):
    """The router, its training prompts' vectors (T, D), and measures on the validation prompts.

    metrics: those of `metrics.evaluate`, where `static_` is the bias alone; the counts of preferences, ties and missing
    pairs among the training prompts; of a cross-validated head `held_out_reward`, `static_held_out_reward` and
    `shrinkage` (None: the static best), otherwise `best_epoch` and `held_out_loss`.
    """

    model: RouterModel | None  # None where vectors were given
    head: head.Head
    vectors: Floats
    prompt_ids: list[int]
    metrics: dict[str, Any]
    epochs: list[Epoch]
    config: config.Router
    seed: int


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
    preferences: config.Preferences | None = None,
    prompt_ids: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
    vectors: Floats | None = None,
    device: str = "auto",
) -> Trained:
    """Train on prompts[train_idx], measure by prompts[val_idx].

    rewards: (P, M) combined rewards, NaN where missing. prompt_ids: (P,) what `Router.neighbours` calls the prompts.
    vectors: (P, D) that `see` gave, where they are known already.
    The same arguments give the same router on the same machine. Raises ModelError if the backbone cannot be loaded.
    """
    learnt_from, tested = np.asarray(train_idx, dtype=np.intp), np.asarray(val_idx, dtype=np.intp)
    wish = preferences or _PREFERENCES
    known = pairs(rewards[learnt_from], **wish.model_dump())
    static = head.static(known, rewards.shape[1])
    model: RouterModel | None = None
    epochs: list[Epoch] = []
    if vectors is None:
        backbone = load_backbone(backbone_path, revision=config.revision, dtype=config.backbone_dtype)
        rows = tokenise(backbone, prompts, config.max_length)
        model = _model(backbone, config, static).to(choose_device(device))
        if not config.freeze_backbone:
            own = [rows[index] for index in learnt_from]
            epochs = finetune(
                model, own, rewards[learnt_from], config, wish, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch,
                on_step=on_step,
            )  # fmt: skip
        vectors = see(model, rows, prompts, beside=config.sees_surface, batch_size=config.batch_size)
    seen = vectors[learnt_from]
    made, extra = _head(model, epochs, seen, rewards[learnt_from], config, wish, seed)
    measured = evaluate(made.coefficients(vectors[tested]), rewards[tested], static=static)
    metrics = {**measured, **known.counts(), **extra}
    ids = [int((prompt_ids or range(len(rewards)))[index]) for index in learnt_from]
    return Trained(model, made, seen, ids, metrics, epochs, config, seed)


def _head(
    model: RouterModel | None, epochs: list[Epoch], seen: Floats, rewards: Floats, config: config.Router,
    wish: config.Preferences, seed: int,
) -> tuple[head.Head, dict[str, Any]]:  # fmt: skip
    """The head and how it was found: learnt together with its backbone, or fitted to a frozen one's vectors."""
    if model is not None and not config.freeze_backbone:
        best = min(epochs, key=lambda epoch: epoch.held_out_loss)
        found = {"best_epoch": float(best.number), "held_out_loss": best.held_out_loss}
        return head.Head(unchanged(seen.shape[1]), *_linear(model)), found
    return head.fit(seen, rewards, config, wish, seed=seed)


def see(
    model: RouterModel, rows: Sequence[list[int]], prompts: Sequence[Messages], *, beside: bool, batch_size: int = 64
) -> Floats:
    """(P, D): what the head is given of the prompts, whose token ids are `rows`.

    The backbone's vectors, and `beside` them the measures of their surface.
    """
    vectors = embed(model, rows, batch_size)
    return np.hstack([vectors, surface(prompts)]) if beside else vectors


def embed(model: RouterModel, rows: Sequence[list[int]], batch_size: int = 64) -> Floats:
    """(P, D) vectors of prompts given as token ids."""
    device = model.head.weight.device
    result = np.zeros((len(rows), model.head.in_features))
    model.eval()
    with torch.inference_mode():
        for batch in batches(rows, batch_size, device):
            result[batch.positions] = model.embed(batch.ids, batch.attention).double().cpu().numpy()
    return result


def save(trained: Trained, folder: Path, meta: dict[str, Any]) -> str:
    """Write the router and return the artifact's sha256.

    meta: what the caller knows of it and `router.json` should tell: the teachers in coefficient order, α, the
    normalisation.
    """
    tuned = trained.model is not None and not trained.config.freeze_backbone
    state = trained.model.trained_state() if trained.model is not None and tuned else {}
    tensors: dict[str, Any] = {name: tensor.float().numpy() for name, tensor in state.items()}
    # safetensors writes memory as it lies, whatever the array's strides say.
    tensors |= {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in trained.head.tensors().items()}
    tensors["calibration.vectors"] = trained.vectors.astype(np.float32)
    description = {
        **meta,
        **trained.config.model_dump(mode="json"),
        "backbone_dtype": trained.config.backbone_dtype,
        "kernel": trained.head.features.kernel,
        "pooled": trained.head.features.pooled,
        "prompt_ids": trained.prompt_ids,
        "n_teachers": len(trained.head.bias),
        "seed": trained.seed,
        "versions": {"persyn": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    return artifact.write(folder, tensors, description)


_PREFERENCES = config.Preferences()


def _model(backbone: Backbone, config: config.Router, bias: Floats) -> RouterModel:
    with torch.random.fork_rng():  # the head's numbers are drawn before they are set, from the caller's generator
        model = RouterModel(
            backbone.network, pooling=config.pooling, n_teachers=len(bias), frozen=config.freeze_backbone
        )
    with torch.no_grad():
        model.head.bias.copy_(torch.from_numpy(bias))
    return model


def _linear(model: RouterModel) -> tuple[Floats, Floats]:
    weight, bias = (tensor.detach().double().cpu().numpy() for tensor in (model.head.weight, model.head.bias))
    return weight.T, bias
