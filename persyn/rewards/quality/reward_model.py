"""Quality by a reward model: a language model with one number for a head, which reads a conversation with its answer.

Scored in process here, or by a server that gets the same token ids (`pooling`): the ids are made by `Reader` for both.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from persyn.chat import Answered, Messages, prompt_ids
from persyn.errors import ChatError, JobFailed, ModelError
from persyn.inference.loading import choose_device, load_network, load_tokenizer
from persyn.rewards.batches import by_length, read_each, unreadable
from persyn.rewards.measurement import Measurement
from persyn.tools import Call, Tool

OWNER = "The reward model"


class Reader:
    """Turns a conversation with its answer into the token ids of the reward model's own chat template."""

    def __init__(self, model_path: str, *, revision: str | None = None, max_length: int) -> None:
        """Load the tokenizer alone. Raises ModelError, also for one without a chat template."""
        self._tokenizer = load_tokenizer(model_path, revision=revision, owner=OWNER)
        if not self._tokenizer.chat_template:
            raise ModelError(
                f"The reward model {model_path} has no chat template, so how it reads an answer is not known."
                " Use a reward model that comes with one."
            )
        self.max_length = max_length

    def read(
        self, messages: Messages, answer: str, tools: Sequence[Tool] | None = None,
        tool_calls: Sequence[Call] | None = None,
    ) -> list[int] | JobFailed:  # fmt: skip
        """The ids of the whole conversation; one that does not fit is refused, since half an answer has no reward.

        Codes: `context_too_long`, `template_refused`, `no_tools`, `unreadable`.

        The template writes the special tokens, the beginning of the sequence among them; nothing is added to it.
        """
        calls = {"tool_calls": tool_calls} if tool_calls else {}
        conversation = [*messages, {"role": "assistant", "content": answer} | calls]
        try:
            ids = prompt_ids(self._tokenizer, conversation, generation_prompt=False, tools=tools)
        except ChatError as exc:
            return exc
        except Exception as exc:  # text from outside in a tokenizer from outside
            return unreadable(exc)
        if not ids:
            return ChatError("template_refused", "The reward model's chat template leaves nothing of the conversation.")
        if len(ids) > self.max_length:
            message = f"Prompt and answer take {len(ids)} tokens; the reward model reads {self.max_length} at most."
            return ChatError("context_too_long", message)
        return ids


class RewardModel:
    """A Hugging Face sequence classifier with one label."""

    def __init__(
        self,
        model_path: str,
        *,
        revision: str | None = None,
        max_length: int,
        device: str = "auto",
        dtype: str = "auto",
        tokens_per_batch: int = 8192,
    ) -> None:
        """Load from a local folder or a Hugging Face name. Raises ModelError.

        `device` and `dtype` as `inference.loading` reads them. `tokens_per_batch` bounds a batch's padded size (rows ×
        longest row).
        """
        self.device = choose_device(device)
        model, missing = load_network(
            "AutoModelForSequenceClassification",
            model_path,
            revision=revision,
            owner=OWNER,
            device=self.device,
            dtype=dtype,
        )
        self._model = model
        _check_head(model_path, model, missing)
        self._config = model.config.get_text_config()
        longest = getattr(self._config, "max_position_embeddings", None) or max_length
        self.reader = Reader(model_path, revision=revision, max_length=min(max_length, longest))
        self._own_pad = self._config.pad_token_id
        self._tokens_per_batch = tokens_per_batch

    def score(
        self, items: Sequence[Answered], on_progress: Callable[[], None] | None = None
    ) -> list[Measurement | JobFailed]:
        """Score answers; one that cannot be scored leaves the others alone."""
        results: dict[int, Measurement | JobFailed] = {}
        rows: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            read = self.reader.read(*item)
            if isinstance(read, JobFailed):
                results[index] = read
            else:
                rows[index] = read
        for batch in by_length({index: len(row) for index, row in rows.items()}, self._tokens_per_batch):
            rewards = read_each([rows[index] for index in batch], self._rewards, OWNER)
            results |= zip(batch, rewards, strict=True)
            if on_progress:
                on_progress()
        return [results[index] for index in range(len(items))]

    def _rewards(self, rows: Sequence[list[int]]) -> list[Measurement | JobFailed]:
        return [reward(value, len(row)) for value, row in zip(self._logits(rows), rows, strict=True)]

    def _logits(self, rows: Sequence[list[int]]) -> list[float]:
        """The head at each row's last token, from one pass padded on the right."""
        # The classifier looks for the last token that is no padding, so padding must be what no row ends with.
        pad = padding(self._own_pad, rows, self._config.vocab_size)
        self._config.pad_token_id = pad
        ids = torch.full((len(rows), max(map(len, rows))), pad, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            attention[number, : len(row)] = 1
        with torch.inference_mode():
            output = self._model(input_ids=ids.to(self.device), attention_mask=attention.to(self.device))
        values: list[float] = output.logits[:, 0].float().tolist()
        return values


def reward(value: float, tokens: int) -> Measurement | JobFailed:
    """The head's raw number, unbounded, and how many tokens it read; `not_finite` where it is no number."""
    if not math.isfinite(value):
        message = "The reward model gives no finite value here; use a wider dtype."
        return JobFailed("not_finite", message, permanent=True)
    return Measurement(value, {"tokens": tokens})


def padding(own: int | None, rows: Sequence[Sequence[int]], vocabulary: int) -> int:
    """The model's own padding where it is a token and ends no row, else the first token that ends none."""
    ends = {row[-1] for row in rows}
    if own is not None and 0 <= own < vocabulary and own not in ends:
        return own
    return next(token for token in range(vocabulary) if token not in ends)


def _check_head(model_path: str, model: Any, missing: Any) -> None:
    """A language model loads as a classifier too, with a random head; its scores would be noise."""
    absent = sorted(key for key in missing if not key.startswith(f"{model.base_model_prefix}."))
    if absent:
        raise ModelError(
            f"{model_path} is no reward model: it has no weights for {', '.join(absent)}."
            " Give a sequence classification model."
        )
    if model.config.num_labels != 1:
        raise ModelError(
            f"{model_path} is no reward model: it has {model.config.num_labels} labels where a reward is one number."
        )
