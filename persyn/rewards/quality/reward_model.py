"""Quality by a reward model: a language model with one number for a head, which reads a conversation with its answer.

Scored in process here, or by a server that gets the same token ids (`pooling`): the ids are made by `Reader` for both.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from persyn.chat import ChatError, Messages, prompt_ids
from persyn.errors import ModelError

_UNLOADABLE = (OSError, ValueError, RuntimeError, ImportError, KeyError)
Progress = Callable[[], None]


class Failure(NamedTuple):
    """Why one answer has no score.

    Codes: `context_too_long`, `template_refused`, `unreadable`, `scoring_failed`, `not_finite`.
    """

    code: str
    message: str


class Reward(NamedTuple):
    """`value` is the head's raw number, unbounded, higher for better; `tokens` is how many the model read."""

    value: float
    tokens: int


class Reader:
    """What a reward model reads of an answer, as token ids of its own chat template."""

    def __init__(self, model_path: str, *, revision: str | None = None, max_length: int) -> None:
        """Load the tokenizer alone. Raises ModelError, also for one without a chat template."""
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model_path, revision=revision)
        except _UNLOADABLE as exc:
            raise _unloadable(model_path, exc) from exc
        if not self._tokenizer.chat_template:
            raise ModelError(
                f"The reward model {model_path} has no chat template, so how it reads an answer is not known."
                " Use a reward model that comes with one."
            )
        self.max_length = max_length

    def read(self, messages: Messages, answer: str) -> list[int] | Failure:
        """The ids of the whole conversation; one that does not fit is refused, since half an answer has no reward.

        The template writes the special tokens, the beginning of the sequence among them; nothing is added to it.
        """
        conversation = [*messages, {"role": "assistant", "content": answer}]
        try:
            ids = prompt_ids(self._tokenizer, conversation, generation_prompt=False)
        except ChatError as exc:
            return Failure(exc.code, str(exc))
        except Exception as exc:  # text from outside in a tokenizer from outside
            return Failure("unreadable", f"The tokenizer cannot read this prompt and answer: {_reason(exc)}.")
        if not ids:
            return Failure("template_refused", "The reward model's chat template leaves nothing of the conversation.")
        if len(ids) > self.max_length:
            message = f"Prompt and answer take {len(ids)} tokens; the reward model reads {self.max_length} at most."
            return Failure("context_too_long", message)
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

        `device` auto: the GPU if there is one. `dtype` auto: float32 on the CPU, the model's own elsewhere.
        `tokens_per_batch` bounds a batch's padded size (rows × longest row).
        """
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        kind = "float32" if dtype == "auto" and self.device.type == "cpu" else dtype
        try:
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                model_path, revision=revision, dtype=kind, output_loading_info=True
            )
            self._model = model.to(self.device).eval()
        except _UNLOADABLE as exc:
            raise _unloadable(model_path, exc) from exc
        _check_head(model_path, model, loaded["missing_keys"])
        self._config = model.config.get_text_config()
        longest = getattr(self._config, "max_position_embeddings", None) or max_length
        self.reader = Reader(model_path, revision=revision, max_length=min(max_length, longest))
        self._own_pad = self._config.pad_token_id
        self._tokens_per_batch = tokens_per_batch

    def score(
        self, items: Sequence[tuple[Messages, str]], on_progress: Progress | None = None
    ) -> list[Reward | Failure]:
        """Score (prompt's messages, answer) items; one that cannot be scored leaves the others alone."""
        results: dict[int, Reward | Failure] = {}
        rows: dict[int, list[int]] = {}
        for index, (messages, answer) in enumerate(items):
            read = self.reader.read(messages, answer)
            if isinstance(read, Failure):
                results[index] = read
            else:
                rows[index] = read
        for batch in self._batches(rows):
            results |= zip(batch, self._judge([rows[index] for index in batch]), strict=True)
            if on_progress:
                on_progress()
        return [results[index] for index in range(len(items))]

    def _batches(self, rows: dict[int, list[int]]) -> Iterator[list[int]]:
        """Longest first: what does not fit into memory shows at once, and rows of a batch need little padding."""
        batch: list[int] = []
        for index in sorted(rows, key=lambda index: len(rows[index]), reverse=True):
            if batch and (len(batch) + 1) * len(rows[batch[0]]) > self._tokens_per_batch:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _judge(self, rows: list[list[int]]) -> list[Reward | Failure]:
        try:
            values = self._logits(rows)
        except Exception as exc:  # memory above all; the row that is to blame is found by scoring each alone
            if len(rows) > 1:
                return [result for row in rows for result in self._judge([row])]
            return [Failure("scoring_failed", f"The reward model's forward pass failed: {_reason(exc)}.")]
        return [reward(value, len(row)) for value, row in zip(values, rows, strict=True)]

    def _logits(self, rows: list[list[int]]) -> list[float]:
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


def reward(value: float, tokens: int) -> Reward | Failure:
    if not math.isfinite(value):
        return Failure("not_finite", "The reward model gives no finite value here; use a wider dtype.")
    return Reward(value, tokens)


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


def _unloadable(model_path: str, exc: Exception) -> ModelError:
    return ModelError(f"The reward model {model_path} cannot be loaded: {_reason(exc)}.")


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:500].rstrip(".")
