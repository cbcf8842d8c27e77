"""Trains the router on calibration rewards: P(B ≻ A | x) = σ(zᵀπ(x)), z = +1 at B and -1 at A; binary cross-entropy.

All pairs of a prompt cost one forward pass, because each is a difference of two of the same M coefficients.
A frozen backbone gives each prompt's vector once, and the head is a convex fit (see `head`) to that vector and to the
prompt's style (see `surface_features`). Otherwise the whole model is trained (see `finetune`). The validation prompts
are only measured: nothing is trained on them, and they do not decide when training stops.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from persyn.router.kernel_features import identity_features
from persyn.router.metrics import evaluate
from persyn.router.model import Backbone, RouterModel, load_backbone
from persyn.router.off_policy import Routed, RoutedAnswers
from persyn.router.preferences import pairs
from persyn.router.surface_features import surface

Floats = NDArray[np.float64]
Indices = Sequence[int] | NDArray[np.intp]


class Trained(NamedTuple):
    """The router, its training prompts' vectors (T, D), and measures on the validation prompts.

    metrics: those of `metrics.evaluate`, where `static_` is the bias alone; the counts of preferences, ties and missing
    pairs among the training prompts; for a cross-validated head `held_out_reward`, `static_held_out_reward` and
    `shrinkage` (None: the static best); for a trained backbone `best_epoch` and `held_out_loss`.
    """

    model: RouterModel | None  # None where vectors were given
    head: head.Head
    vectors: Floats
    prompt_ids: list[int]
    metrics: dict[str, Any]
    epochs: list[Epoch]
    config: config.Router
    seed: int
    held_out: Floats  # (P, M) coefficients by a router that never saw the prompt, NaN where there are none


def train(
    prompts: Sequence[Messages], rewards: Floats, train_idx: Indices, val_idx: Indices, config: config.Router,
    seed: int, backbone_path: str, on_epoch: Callable[[Epoch], None] | None = None, *,
    preferences: config.Preferences | None = None,
    prompt_ids: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
    on_progress: head.Progress = head.unwatched,
    while_loading: Callable[[], AbstractContextManager[None]] = nullcontext,
    vectors: Floats | None = None,
    device: str = "auto",
    routed: RoutedAnswers | None = None,
) -> Trained:  # fmt: skip
    """Train on prompts[train_idx] and measure on prompts[val_idx].

    rewards: (P, M) combined rewards, NaN where missing. prompt_ids: (P,) the ids that `Prediction.neighbour_ids` uses.
    vectors: (P, D) from `prompt_vectors`, where they are known already, and behind them those of the routed prompts.
    on_progress: called every few seconds of work. routed: what was measured on routed prompts; a cross-validated head
    on a frozen backbone learns from it too. while_loading: entered for the backbone's load, which cannot say how far it
    is. The same arguments give the same router on the same machine. Raises ModelError if the backbone cannot be loaded.
    """
    train_rows, val_rows = np.asarray(train_idx, dtype=np.intp), np.asarray(val_idx, dtype=np.intp)
    preferences = preferences or _PREFERENCES
    known = pairs(rewards[train_rows], **preferences.model_dump())
    static = head.static(known, rewards.shape[1])
    model, epochs = None, list[Epoch]()
    if vectors is None:
        everything = [*prompts, *([] if routed is None else routed.prompts)]
        with while_loading():
            backbone = load_backbone(backbone_path, revision=config.revision, dtype=config.backbone_dtype)
        rows = tokenise(backbone, everything, config.max_length)
        model = _model(backbone, config, static).to(choose_device(device))
        if not config.freeze_backbone:
            epochs = finetune(
                model, [rows[index] for index in train_rows], rewards[train_rows], config, preferences, seed=seed,
                checkpoint=checkpoint, on_epoch=on_epoch, on_step=on_step,
            )  # fmt: skip
        vectors = prompt_vectors(model, rows, everything, with_surface=config.sees_surface,
                                 batch_size=config.batch_size, on_progress=on_progress)  # fmt: skip
    vectors, further = vectors[: len(prompts)], vectors[len(prompts) :]
    beside = None if routed is None else Routed(further, routed).beside(train_rows)
    fitted = _head(
        model, epochs, vectors[train_rows], rewards[train_rows], config, preferences, seed, on_progress, beside
    )
    held_out = _held_out(fitted, vectors, train_rows, val_rows)
    metrics = {**evaluate(held_out[val_rows], rewards[val_rows], static=static), **known.counts(), **fitted.metrics}
    ids = [int((prompt_ids or range(len(rewards)))[index]) for index in train_rows]
    return Trained(model, fitted.head, vectors[train_rows], ids, metrics, epochs, config, seed, held_out)


def _held_out(fitted: head.Fitted, vectors: Floats, train_rows: Indices, val_rows: Indices) -> Floats:
    """(P, M) coefficients of each prompt by a head that never saw it, NaN where there are none."""
    found = np.full((len(vectors), len(fitted.head.bias)), np.nan)
    found[train_rows] = np.nan if fitted.held_out is None else fitted.held_out
    found[val_rows] = fitted.head.coefficients(vectors[val_rows])
    return found


def _head(
    model: RouterModel | None, epochs: list[Epoch], vectors: Floats, rewards: Floats, config: config.Router,
    preferences: config.Preferences, seed: int, on_progress: head.Progress, routed: Routed | None,
) -> head.Fitted:  # fmt: skip
    """The head: trained together with its backbone, or fitted to a frozen one's vectors."""
    if model is not None and not config.freeze_backbone:
        best = min(epochs, key=lambda epoch: epoch.held_out_loss)
        metrics: dict[str, float | None] = {"best_epoch": float(best.number), "held_out_loss": best.held_out_loss}
        return head.Fitted(head.Head(identity_features(vectors.shape[1]), *_linear(model)), metrics, None)
    return head.fit(vectors, rewards, config, preferences, seed=seed, on_progress=on_progress, routed=routed)


def prompt_vectors(
    model: RouterModel, rows: Sequence[list[int]], prompts: Sequence[Messages], *, with_surface: bool,
    batch_size: int = 64, on_progress: head.Progress = head.unwatched,
) -> Floats:  # fmt: skip
    """(P, D) vectors that the head reads: the backbone's, and behind them the surface measures if `with_surface`.

    rows: the prompts' token ids. on_progress: called after each batch.
    """
    vectors = embed(model, rows, batch_size, on_progress)
    return np.hstack([vectors, surface(prompts)]) if with_surface else vectors


def embed(
    model: RouterModel, rows: Sequence[list[int]], batch_size: int = 64, on_progress: head.Progress = head.unwatched
) -> Floats:
    """(P, D) vectors of prompts given as token ids."""
    device = model.head.weight.device
    result = np.zeros((len(rows), model.head.in_features))
    model.eval()
    with torch.inference_mode():
        for batch in batches(rows, batch_size, device):
            result[batch.positions] = model.embed(batch.ids, batch.attention).double().cpu().numpy()
            on_progress()
    return result


def save(trained: Trained, folder: Path, meta: dict[str, Any]) -> str:
    """Write the router and return the artifact's sha256.

    meta: what only the caller knows and `router.json` should hold: the teachers in coefficient order, α and the
    normalisation.
    """
    tuned = trained.model is not None and not trained.config.freeze_backbone
    state = trained.model.trained_state() if trained.model is not None and tuned else {}
    tensors: dict[str, Any] = {name: tensor.float().numpy() for name, tensor in state.items()}
    # safetensors writes an array's memory as it lies and ignores the strides.
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
    with torch.random.fork_rng():  # torch draws the head's weights from the caller's generator before they are set
        model = RouterModel(
            backbone.network, pooling=config.pooling, n_teachers=len(bias), frozen=config.freeze_backbone
        )
    with torch.no_grad():
        model.head.bias.copy_(torch.from_numpy(bias))
    return model


def _linear(model: RouterModel) -> tuple[Floats, Floats]:
    weight, bias = (tensor.detach().double().cpu().numpy() for tensor in (model.head.weight, model.head.bias))
    return weight.T, bias
