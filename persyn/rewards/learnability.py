"""Learnability: how likely the student finds an answer, r_l = (1/|y|) Σ_t log p(y_t | y_<t, x), in nats per token.

The cost is the student's forward pass, so the batches are cut by tokens and not by answers, and little else is
computed: the vocabulary's logits are made for the answer's tokens only and a few rows at a time, since 6,000 rows of a
49k vocabulary would take more than a gigabyte.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from persyn.chat import ChatError, Encoded, Messages, with_answer
from persyn.errors import ModelError

ROWS = 256  # of logits at a time

Progress = Callable[[int, int], None]


class Score(NamedTuple):
    """The mean log-probability of the answer's tokens, and how many there are (after cutting at `max_length`)."""

    value: float
    tokens: int


class Failure(NamedTuple):
    """Why one answer has no score.

    Codes: `empty_answer`, `context_too_long`, `template_refused`, `unreadable`, `scoring_failed`, `not_finite`.
    """

    code: str
    message: str


class LogLikelihood:
    """A student, loaded to score answers."""

    def __init__(
        self,
        model_path: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int,
        answer_tokens: int | None = None,
        tokens_per_batch: int = 4096,
    ) -> None:
        """Load from a local folder or a Hugging Face name. Raises ModelError.

        `device` auto: the GPU if there is one. `dtype` auto: float32 on the CPU, where bfloat16 is slower and coarser,
        the model's own elsewhere. `answer_tokens` scores the first tokens of an answer only. `tokens_per_batch` bounds
        a batch's padded size (rows × longest row).
        """
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.max_length = max_length
        self.answer_tokens = answer_tokens
        self.tokens_per_batch = tokens_per_batch
        kind = "float32" if dtype == "auto" and self.device.type == "cpu" else dtype
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model_path, revision=revision)
            model = AutoModelForCausalLM.from_pretrained(model_path, revision=revision, dtype=kind)
            self.model = model.to(self.device).eval()
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as exc:
            raise ModelError(f"The student {model_path} cannot be loaded: {' '.join(str(exc).split())}.") from exc
        self._plain_head = self._head_gives_the_logits()

    def score(
        self, items: Sequence[tuple[Messages, str]], on_progress: Progress | None = None
    ) -> list[Score | Failure]:
        """Score (prompt's messages, answer) items; the results stand in the items' order.

        An item that cannot be scored gives a Failure and leaves the others alone. `on_progress(done, total)` is called
        after each batch.
        """
        results: list[Score | Failure | None] = [None] * len(items)
        encoded: dict[int, Encoded] = {}
        for index, (messages, answer) in enumerate(items):
            prepared = self._prepare(messages, answer)
            if isinstance(prepared, Failure):
                results[index] = prepared
            else:
                encoded[index] = prepared
        done = len(items) - len(encoded)
        for batch in self._batches(encoded):
            for index, result in zip(batch, self._score_batch([encoded[index] for index in batch]), strict=True):
                results[index] = result
            done += len(batch)
            if on_progress:
                on_progress(done, len(items))
        return [result for result in results if result is not None]

    def _prepare(self, messages: Messages, answer: str) -> Encoded | Failure:
        if not answer.strip():
            return Failure("empty_answer", "The answer is empty, so there is no token to score.")
        try:
            return with_answer(
                self.tokenizer, messages, answer, max_length=self.max_length, answer_tokens=self.answer_tokens
            )
        except ChatError as exc:
            return Failure(exc.code, str(exc))
        except Exception as exc:  # text from outside in a tokenizer from outside: broken surrogates, missing keys
            return Failure("unreadable", f"The tokenizer cannot read this prompt and answer: {_reason(exc)}.")

    def _batches(self, encoded: dict[int, Encoded]) -> Iterator[list[int]]:
        """Longest first: what does not fit into memory shows at once, and rows of a batch need little padding."""
        batch: list[int] = []
        for index in sorted(encoded, key=lambda index: len(encoded[index].ids), reverse=True):
            longest = len(encoded[batch[0] if batch else index].ids)
            if batch and (len(batch) + 1) * longest > self.tokens_per_batch:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _score_batch(self, batch: list[Encoded]) -> list[Score | Failure]:
        try:
            values = self._means(batch)
        except Exception as exc:  # memory above all; the row that is to blame is found by scoring each alone
            if len(batch) > 1:
                return [result for item in batch for result in self._score_batch([item])]
            return [Failure("scoring_failed", f"The student's forward pass failed: {_reason(exc)}.")]
        return [_result(value, item) for value, item in zip(values, batch, strict=True)]

    def _means(self, batch: list[Encoded]) -> list[float]:
        counts = [sum(item.mask) for item in batch]
        targets = torch.tensor([token for item in batch for token in item.ids[-sum(item.mask) :]], device=self.device)
        with torch.inference_mode():
            logits = self._from_states(batch) if self._plain_head else self._from_rows(batch)
            pieces, start = [], 0
            for chunk in logits:
                wanted = targets[start : start + len(chunk), None]
                pieces.append(chunk.gather(1, wanted)[:, 0].float() - chunk.float().logsumexp(dim=1))
                start += len(chunk)
        return [float(row.double().mean()) for row in torch.cat(pieces).split(counts)]

    def _from_states(self, batch: list[Encoded]) -> Iterator[Tensor]:
        """Logits (≤ ROWS, vocabulary) that predict the answers' tokens, in order, from one padded forward pass."""
        shape = (len(batch), max(len(item.ids) for item in batch))
        ids = torch.zeros(shape, dtype=torch.long)
        attention, answer = torch.zeros_like(ids), torch.zeros(shape, dtype=torch.bool)
        for row, item in enumerate(batch):
            ids[row, : len(item.ids)] = torch.tensor(item.ids)
            attention[row, : len(item.ids)] = 1
            answer[row, : len(item.ids)] = torch.tensor(item.mask)
        # Padding stands on the right, where causal attention never looks.
        states = self._states(ids.to(self.device), attention.to(self.device))
        # The state at t predicts the token at t + 1.
        for part in states[:, :-1][answer[:, 1:].to(self.device)].split(ROWS):
            yield self._head(part)

    def _from_rows(self, batch: list[Encoded]) -> Iterator[Tensor]:
        """The same from the whole model, one answer at a time: its logits for a batch would be too large."""
        for item in batch:
            ids = torch.tensor([item.ids], device=self.device)
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=sum(item.mask) + 1).logits
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


def _result(value: float, item: Encoded) -> Score | Failure:
    if not math.isfinite(value):
        return Failure("not_finite", "The student's log-probability is not finite. Use a wider dtype.")
    return Score(value, sum(item.mask))


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:500].rstrip(".")
