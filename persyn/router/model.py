"""The router's network: a language model as backbone, pooled to one vector a prompt, and a linear head.

The head gives one Bradley-Terry coefficient per teacher, π(x) in R^M. Its bias holds what is true of the teachers on
every prompt; its weights hold what the prompt changes.
"""

import math
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel

from persyn.errors import ModelError
from persyn.inference.loading import load_network, load_tokenizer

Pooling = Literal["mean", "last", "layers", "middle"]
_Part = tuple[int, Literal["mean", "last"]]

# The parts that a pooling puts side by side: a layer in quarters of the way up (0: the embeddings, 4: the last layer),
# and there the mean of all tokens' states or the last token's state.
_PARTS: dict[Pooling, tuple[_Part, ...]] = {
    "mean": ((4, "mean"),),
    "last": ((4, "last"),),
    "layers": ((0, "mean"), (2, "mean"), (4, "mean")),
    "middle": ((2, "mean"), (2, "last"), (3, "last")),
}


class Backbone(NamedTuple):
    """A language model without its head, and its tokenizer."""

    network: Any
    tokenizer: Any


class RouterModel(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    def __init__(self, backbone: Any, *, pooling: Pooling, n_teachers: int, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.frozen = frozen
        width = backbone.config.get_text_config().hidden_size
        self.head = nn.Linear(width * len(_PARTS[pooling]), n_teachers)
        # With zero weights every prompt gets the bias, so training learns only what a prompt adds to it.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.backbone.requires_grad_(not frozen)

    def embed(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B, D) prompt vectors, H for each part, of (B, T) token ids padded on the right and their mask.

        `layers`: the last layer holds the prompt's subject, the earlier ones its style and layout.
        `middle`: a chat model's last token ends the user's turn, so it has read the whole turn.
        """
        parts = _PARTS[self.pooling]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            output = self.backbone(input_ids=ids, attention_mask=attention, output_hidden_states=len(parts) > 1)
        return torch.cat([_pooled(_states(output, quarter), attention, how) for quarter, how in parts], dim=1)

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B, M) coefficients."""
        return cast(Tensor, self.head(self.embed(ids, attention)))

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors that training changed, on the CPU: the head, and the backbone unless it is frozen."""
        kept = {name: tensor for name, tensor in self.state_dict().items() if self._is_trained(name)}
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in kept.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put a `trained_state` back. Raises ModelError if it belongs to another model."""
        wanted = {name: tensor.shape for name, tensor in self.state_dict().items() if self._is_trained(name)}
        if {name: tensor.shape for name, tensor in state.items()} != wanted:
            raise ModelError("The router's weights do not fit its backbone. Is it the backbone that it was trained on?")
        self.load_state_dict(state, strict=False)

    def _is_trained(self, name: str) -> bool:
        return name.startswith("head.") or not self.frozen


def _states(output: Any, quarter: int) -> Tensor:
    """(B, T, H) states of the layer that is `quarter` quarters of the way up."""
    if quarter == 4:
        return cast(Tensor, output.last_hidden_state)
    return cast(Tensor, output.hidden_states[math.ceil((len(output.hidden_states) - 1) * quarter / 4)])


def _pooled(states: Tensor, attention: Tensor, how: Literal["mean", "last"]) -> Tensor:
    """(B, H) in float32 of (B, T, H): the mean over the tokens that `attention` (B, T) keeps, or the last of them."""
    if how == "last":
        rows = torch.arange(len(states), device=states.device)
        return states[rows, attention.sum(dim=1) - 1].float()
    kept = attention[:, :, None].float()
    return (states.float() * kept).sum(dim=1) / kept.sum(dim=1)


def load_backbone(path: str, *, revision: str | None = None, dtype: str = "float32") -> Backbone:
    """Load a local folder or a Hugging Face name. Raises ModelError.

    dtype: the type of the backbone's weights; the head's are float32, because its margins are finer than bfloat16.
    """
    owner = "The router's backbone"
    tokenizer = load_tokenizer(path, revision=revision, owner=owner)
    network, _ = load_network(
        "AutoModel", path, revision=revision, owner=owner, device=torch.device("cpu"), dtype=dtype
    )
    return Backbone(network, tokenizer)


def untrained(backbone: Any, *, pooling: Pooling, n_teachers: int) -> RouterModel:
    """A model with the backbone's configuration and random weights, which `restore` then replaces."""
    network = AutoModel.from_config(backbone, dtype=torch.float32)
    return RouterModel(network, pooling=pooling, n_teachers=n_teachers, frozen=False)
