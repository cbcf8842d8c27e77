"""A student, loaded to say what it thinks of prompts and answers: one padded forward pass, token by token.

The cost is this pass, so batches are cut by tokens and not by answers, and little else is computed: the vocabulary's
logits are made only for the tokens that somebody asks about and a few rows at a time, since 6,000 rows of a 49k
vocabulary would take more than a gigabyte.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from persyn.chat import Encoded
from persyn.errors import ModelError
from persyn.rewards.measures import rank_of, unit

ROWS = 256  # of logits at a time


class Row(NamedTuple):
    """One sequence of a pass: of its tokens from `start` on something is asked."""

    ids: list[int]
    start: int  # at least 1: the first token has no prediction


class Said(NamedTuple):
    """About the m tokens from `start` on, and the activations of all n."""

    logprobs: Tensor  # (m,)
    ranks: Tensor | None  # (m,)
    directions: Tensor | None  # (n, H), of length 1


class Student:
    """A causal language model and its tokenizer."""

    def __init__(
        self, model_path: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> None:
        """Load from a local folder or a Hugging Face name. Raises ModelError.

        `device` auto: the GPU if there is one. `dtype` auto: float32 on the CPU, where bfloat16 is slower and coarser,
        the model's own elsewhere.
        """
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        kind = "float32" if dtype == "auto" and self.device.type == "cpu" else dtype
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model_path, revision=revision)
            model = AutoModelForCausalLM.from_pretrained(model_path, revision=revision, dtype=kind)
            self.model = model.to(self.device).eval()
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as exc:
            raise ModelError(f"The student {model_path} cannot be loaded: {' '.join(str(exc).split())}.") from exc
        self._plain_head = self._head_gives_the_logits()
        self._name = model_path

    def read(self, rows: Sequence[Row], *, ranks: bool = False, activations: bool = False) -> list[Said]:
        """One pass over a batch. Raises ModelError where activations are asked of a model without an up-projection."""
        targets = torch.tensor([token for row in rows for token in row.ids[row.start :]], device=self.device)
        with torch.inference_mode(), _Tap(self._up_projection() if activations else None) as tap:
            logits = self._from_states(rows) if self._plain_head else self._from_rows(rows)
            pieces, placed, start = [], [], 0
            for chunk in logits:
                wanted = targets[start : start + len(chunk)]
                pieces.append(chunk.gather(1, wanted[:, None])[:, 0].float() - chunk.float().logsumexp(dim=1))
                if ranks:
                    placed.append(rank_of(chunk, wanted))
                start += len(chunk)
            counts = [len(row.ids) - row.start for row in rows]
            logprobs = torch.cat(pieces).split(counts)
            ranked = torch.cat(placed).split(counts) if ranks else [None] * len(rows)
            directions = tap.directions(rows)
        return [Said(*said) for said in zip(logprobs, ranked, directions, strict=True)]

    def special(self, ids: Sequence[int]) -> Tensor:
        """(n,): which of the tokens are the tokenizer's own."""
        return torch.isin(torch.tensor(ids, device=self.device), self._special_ids())

    def _special_ids(self) -> Tensor:
        return torch.tensor(self.tokenizer.all_special_ids, dtype=torch.long, device=self.device)

    def _from_states(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """Logits (≤ ROWS, vocabulary) that predict the tokens asked for, in order, from one padded forward pass."""
        shape = (len(rows), max(len(row.ids) for row in rows))
        ids = torch.zeros(shape, dtype=torch.long)
        attention, asked = torch.zeros_like(ids), torch.zeros(shape, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            attention[number, : len(row.ids)] = 1
            asked[number, row.start : len(row.ids)] = True
        # Padding stands on the right, where causal attention never looks.
        states = self._states(ids.to(self.device), attention.to(self.device))
        # The state at t predicts the token at t + 1.
        for part in states[:, :-1][asked[:, 1:].to(self.device)].split(ROWS):
            yield self._head(part)

    def _from_rows(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """The same from the whole model, one answer at a time: its logits for a batch would be too large."""
        for row in rows:
            ids = torch.tensor([row.ids], device=self.device)
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(row.ids) - row.start + 1).logits
            yield from logits[0, :-1].split(ROWS)

    def _states(self, ids: Tensor, attention: Tensor | None = None) -> Tensor:
        output = self.model.base_model(input_ids=ids, attention_mask=attention, use_cache=False)
        return cast(Tensor, output.last_hidden_state)

    def _head(self, states: Tensor) -> Tensor:
        return cast(Tensor, self.model.get_output_embeddings()(states))

    def _head_gives_the_logits(self) -> bool:
        """Whether head(base model) is the whole model: some scale or cap their logits afterwards (Gemma 2, Cohere)."""
        probe = torch.arange(1, 9, device=self.device)[None] % self.model.config.get_text_config().vocab_size
        with torch.inference_mode():
            whole = self.model(input_ids=probe, use_cache=False).logits
            return bool(torch.allclose(self._head(self._states(probe)), whole, rtol=1e-3, atol=1e-4))

    def _up_projection(self) -> Any:
        found = [module for name, module in self.model.named_modules() if name.endswith(".mlp.up_proj")]
        if not found:
            raise ModelError(
                f"The student {self._name} has no mlp.up_proj layer, whose activations the measure scas compares."
                " Use another learnability scorer for it."
            )
        return found[-1]


class _Tap:
    """Takes down what a layer puts out while the block runs; nothing where there is no layer."""

    def __init__(self, layer: Any | None) -> None:
        self._layer, self._taken = layer, list[Tensor]()

    def __enter__(self) -> "_Tap":
        if self._layer is not None:
            self._handle = self._layer.register_forward_hook(
                lambda _module, _inputs, output: self._taken.append(output)
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._layer is not None:
            self._handle.remove()

    def directions(self, rows: Sequence[Row]) -> Sequence[Tensor | None]:
        """Each row's activations, whether they came from one padded pass or from one a row."""
        if self._layer is None:
            return [None] * len(rows)
        whole = [activations for taken in self._taken for activations in taken]
        return [unit(activations[: len(row.ids)]) for activations, row in zip(whole, rows, strict=True)]


def row_of(encoded: Encoded) -> Row:
    """What is asked about is the answer: the tokens that the mask marks, at the end."""
    return Row(encoded.ids, len(encoded.ids) - sum(encoded.mask))
