"""Loads a model or a tokenizer with transformers, with one sentence for everything that can go wrong."""

from typing import Any

import torch
import transformers

from persyn.errors import ModelError
from persyn.text import reason

transformers.utils.logging.disable_progress_bar()  # the commands draw bars of their own
transformers.utils.logging.disable_default_handler()  # its lines go the way of ours, as text or as JSON
transformers.utils.logging.enable_propagation()

_UNLOADABLE = (OSError, ValueError, RuntimeError, ImportError, KeyError)


def choose_device(wish: str) -> torch.device:
    """The device of this name; `auto`: the GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if wish == "auto" else wish)


def load_tokenizer(path: str, *, revision: str | None, owner: str) -> Any:
    """The tokenizer of a local folder or a hub name. `owner` begins the sentence. Raises ModelError."""
    try:
        return transformers.AutoTokenizer.from_pretrained(path, revision=revision)
    except _UNLOADABLE as exc:
        raise _unloadable(path, owner, exc) from exc


def load_network(
    auto_class: str, path: str, *, revision: str | None, owner: str, device: torch.device, dtype: str = "auto"
) -> tuple[Any, frozenset[str]]:
    """A network on its device, ready to compute, and the names of the weights that its files lack.

    `auto_class`: transformers' name, such as AutoModelForCausalLM. `dtype` auto: float32 on the CPU, where bfloat16 is
    slower and coarser, the model's own elsewhere. Raises ModelError.
    """
    kind = "float32" if dtype == "auto" and device.type == "cpu" else dtype
    try:
        network, info = getattr(transformers, auto_class).from_pretrained(
            path, revision=revision, dtype=kind, output_loading_info=True
        )
        return network.to(device).eval(), frozenset(info["missing_keys"])
    except _UNLOADABLE as exc:
        raise _unloadable(path, owner, exc) from exc


def _unloadable(path: str, owner: str, exc: Exception) -> ModelError:
    return ModelError(f"{owner} {path} cannot be loaded: {reason(exc)}.")
