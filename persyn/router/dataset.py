"""Turns prompts into the token ids that the router's backbone reads, and into batches.

A backbone with a chat template (a chat model) reads the conversation in it; one without (an encoder such as MiniLM)
reads the contents as plain text between the tokenizer's own special tokens. In both cases the text cannot forge a
special token.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from persyn.chat import Messages, prompt_ids
from persyn.errors import ChatError
from persyn.router.model import Backbone

JITTER = 0.2  # on a length's logarithm: parts then differ from epoch to epoch, and a quarter of them is padding


class Batch(NamedTuple):
    """Prompts of similar length: their positions in the caller's list, ids and attention mask, both (B, T)."""

    positions: list[int]
    ids: Tensor
    attention: Tensor


def tokenise(backbone: Backbone, prompts: Sequence[Messages], max_length: int) -> list[list[int]]:
    """Token ids of each prompt, at most `max_length`.

    A longer prompt loses its beginning, because its end holds the question and the last token, which `last` and
    `middle` read.
    """
    limit = min(max_length, getattr(backbone.network.config, "max_position_embeddings", max_length))
    return [_encode(backbone.tokenizer, messages, limit) for messages in prompts]


def batches(rows: Sequence[list[int]], batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Batches of all rows, the shortest first, so that a batch carries little padding."""
    order = sorted(range(len(rows)), key=lambda position: len(rows[position]))
    for start in range(0, len(order), batch_size):
        positions = order[start : start + batch_size]
        yield Batch(positions, *collate([rows[position] for position in positions], device))


def mixed(indices: Sequence[int], lengths: Sequence[int], size: int, *, seed: Sequence[int]) -> list[list[int]]:
    """All indices in parts of `size`, drawn anew for each seed; the rows of a part have about the same length.

    The rows are sorted by length times a random factor and cut into parts, and the parts are shuffled. Without the
    sorting, parts are three quarters padding where few prompts are long.
    """
    generator = np.random.default_rng(seed)
    sizes = np.log([lengths[index] for index in indices]) + JITTER * generator.normal(size=len(indices))
    order = np.asarray(indices)[np.argsort(sizes)].tolist()
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [parts[at] for at in generator.permutation(len(parts))]


def collate(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both (B, T), padded on the right with id 0, which the mask hides."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    attention = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, attention


def _encode(tokenizer: Any, messages: Messages, limit: int) -> list[int]:
    ids: list[int] = []
    if tokenizer.chat_template:
        try:
            ids = prompt_ids(tokenizer, messages, generation_prompt=False)[-limit:]
        except ChatError:
            ids = []  # some templates refuse a system message, but every prompt must get a teacher

    return ids or _encode_plain(tokenizer, "\n\n".join(message["content"] for message in messages), limit)


def _encode_plain(tokenizer: Any, text: str, limit: int) -> list[int]:
    tokenizer.truncation_side = "left"
    encoded = tokenizer(text, truncation=True, max_length=limit, split_special_tokens=True)
    # An empty text may have no token at all, and a vector needs one.
    return list(encoded["input_ids"]) or [tokenizer.eos_token_id or 0]
