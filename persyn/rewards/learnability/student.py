"""Reads prompts and answers with the student, and gives its likelihoods and activations token by token.

The cost is the forward pass, so it runs over as few tokens as it can: the common beginning of several answers' prompts
is read once, and its keys and values serve all of them. The vocabulary's logits are made only for the tokens that are
asked about, and a few rows at a time: 6,000 rows of a 49k vocabulary take more than a gigabyte.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from persyn.chat import Encoded
from persyn.inference.loading import choose_device, load_network, load_tokenizer
from persyn.rewards.learnability.measures import brier_of, rank_of, unit

log = logging.getLogger(__name__)

ROWS = 256  # of logits at a time
SHARED_AT_LEAST = 16  # tokens: reading a shorter beginning again costs less than a pass of its own


class Row(NamedTuple):
    """One sequence of a pass, and the place from which its tokens are asked about."""

    ids: list[int]
    start: int  # at least 1: the first token has no prediction


class PassOptions(NamedTuple):
    """The wishes for a pass beside the likelihood of each token."""

    ranks: bool = False
    brier: bool = False


class TokenStats(NamedTuple):
    """The student's view of one row: of the m tokens from `start` on, and the activations of all n."""

    logprobs: Tensor  # (m,)
    ranks: Tensor | None  # (m,)
    brier: Tensor | None  # (m,)
    directions: Tensor | None  # (n, H), of length 1


class _Places(NamedTuple):
    """The tokens that came, of one row's places or of all rows' in order: (m,) each, None where nobody asked."""

    logprobs: Tensor
    ranks: Tensor | None = None
    brier: Tensor | None = None


class Student:
    """A causal language model and its tokenizer."""

    def __init__(
        self, model_path: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> None:
        """Load from a local folder or a Hugging Face name. Raises ModelError.

        `device` and `dtype` as `inference.loading` reads them.
        """
        owner = "The student"
        self.name = model_path
        self.device = choose_device(device)
        self.tokenizer = load_tokenizer(model_path, revision=revision, owner=owner)
        self.model, _ = load_network(
            "AutoModelForCausalLM", model_path, revision=revision, owner=owner, device=self.device, dtype=dtype
        )
        self._up_projection = self._last_up_projection()
        self._plain_head = self._head_gives_the_logits()
        self._reuses_prefixes = self._plain_head and self._continues_from_a_cache()

    def read(
        self, rows: Sequence[Row], asked: PassOptions = PassOptions(), *, activations: bool = False
    ) -> list[TokenStats]:
        """One pass over a batch. A model without an up-projection has no activations."""
        with torch.inference_mode(), _Tap(self._up_projection if activations else None) as tap:
            shared = _common_start(rows) if self._reuses_prefixes else 0
            if shared < SHARED_AT_LEAST:
                shared = 0
            places = self._from_shared(rows, shared, asked) if shared else self._from_rows(rows, asked)
            directions = tap.directions(rows, shared)
        return [TokenStats(*stats, direction) for stats, direction in zip(places, directions, strict=True)]

    def special(self, ids: Sequence[int]) -> Tensor:
        """(n,): which of the tokens are the tokenizer's own."""
        return torch.isin(torch.tensor(ids, device=self.device), self._special_ids())

    def _special_ids(self) -> Tensor:
        return torch.tensor(self.tokenizer.all_special_ids, dtype=torch.long, device=self.device)

    def _from_shared(self, rows: Sequence[Row], shared: int, asked: PassOptions) -> list[_Places]:
        """The result of `_from_rows` for rows that begin with the same `shared` tokens, which are read only once."""
        begin = rows[0].ids[:shared]
        read = self.model.base_model(input_ids=torch.tensor([begin], device=self.device), use_cache=True)
        first = min(shared, *(row.start for row in rows))
        # The state at t predicts the token at t + 1; the last one of the beginning, what each row goes on with.
        common = self._judge(self._heads(read.last_hidden_state[0, first - 1 : shared - 1]), begin[first:], asked)
        cache = read.past_key_values
        cache.batch_repeat_interleave(len(rows))
        starts = [max(row.start - shared, 0) for row in rows]
        ids, attention, wanted = _padded([row.ids[shared:] for row in rows], starts)
        seen = torch.ones(len(rows), shared, dtype=torch.long)
        states = self.model.base_model(
            input_ids=ids.to(self.device),
            attention_mask=torch.cat([seen, attention], dim=1).to(self.device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        before = read.last_hidden_state[:, -1:].expand(len(rows), -1, -1)
        states = torch.cat([before, states[:, :-1]], dim=1)[wanted.to(self.device)]
        targets = [row.ids[shared + start :] for row, start in zip(rows, starts, strict=True)]
        own = self._judge(self._heads(states), [token for row in targets for token in row], asked)
        pieces = _split(own, [len(row) for row in targets])
        return [_join(_from(common, row.start - first), piece) for row, piece in zip(rows, pieces, strict=True)]

    def _from_rows(self, rows: Sequence[Row], asked: PassOptions) -> list[_Places]:
        """Each row's places, each row read from its beginning."""
        targets = [token for row in rows for token in row.ids[row.start :]]
        logits = self._padded_logits(rows) if self._plain_head else self._logits_of_each(rows)
        return _split(self._judge(logits, targets, asked), [len(row.ids) - row.start for row in rows])

    def _judge(self, logits: Iterator[Tensor], targets: Sequence[int], asked: PassOptions) -> _Places:
        """Likelihoods, ranks and Brier scores of the tokens that came, from logits that come a few rows at a time."""
        wanted = torch.tensor(targets, dtype=torch.long, device=self.device)
        none = wanted.new_empty(0, dtype=torch.float)
        logprobs, ranks, brier, start = [none], [wanted[:0]], [none], 0
        for chunk in logits:
            token = wanted[start : start + len(chunk)]
            logprobs.append(chunk.gather(1, token[:, None])[:, 0].float() - chunk.float().logsumexp(dim=1))
            if asked.ranks:
                ranks.append(rank_of(chunk, token))
            if asked.brier:
                brier.append(brier_of(chunk, token))
            start += len(chunk)
        return _Places(
            torch.cat(logprobs), torch.cat(ranks) if asked.ranks else None, torch.cat(brier) if asked.brier else None
        )

    def _padded_logits(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """Logits (≤ ROWS, vocabulary) that predict the tokens asked for, in order, from one padded forward pass."""
        ids, attention, asked = _padded([row.ids for row in rows], [row.start for row in rows])
        states = self._states(ids.to(self.device), attention.to(self.device))
        return self._heads(states[:, :-1][asked[:, 1:].to(self.device)])

    def _logits_of_each(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """The same from the whole model, one answer at a time: its logits for a batch would be too large."""
        for row in rows:
            ids = torch.tensor([row.ids], device=self.device)
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(row.ids) - row.start + 1).logits
            yield from logits[0, :-1].split(ROWS)

    def _states(self, ids: Tensor, attention: Tensor | None = None) -> Tensor:
        output = self.model.base_model(input_ids=ids, attention_mask=attention, use_cache=False)
        return cast(Tensor, output.last_hidden_state)

    def _heads(self, states: Tensor) -> Iterator[Tensor]:
        return (self._head(part) for part in states.split(ROWS) if len(part))

    def _head(self, states: Tensor) -> Tensor:
        return cast(Tensor, self.model.get_output_embeddings()(states))

    def _head_gives_the_logits(self) -> bool:
        """Whether head(base model) is the whole model: some scale or cap their logits afterwards (Gemma 2, Cohere)."""
        probe = torch.arange(1, 9, device=self.device)[None] % self.model.config.get_text_config().vocab_size
        with torch.inference_mode():
            whole = self.model(input_ids=probe, use_cache=False).logits
            return bool(torch.allclose(self._head(self._states(probe)), whole, rtol=1e-3, atol=1e-4))

    def _continues_from_a_cache(self) -> bool:
        """Whether a prefix read once gives what reading it again would, shown on two short answers of unequal length.

        Recurrent memories, and caches that cannot be repeated, fail here, each in its own way. Such a model reads every
        answer with its prompt, which is slower and never wrong.
        """
        vocabulary = self.model.config.get_text_config().vocab_size
        prefix = [7 * place % vocabulary for place in range(4, 10)]
        rows = [
            Row(prefix + [token % vocabulary for token in answer], len(prefix)) for answer in ([11, 23], [31, 5, 17])
        ]
        try:
            with torch.inference_mode():
                ways = (self._from_shared(rows, len(prefix), PassOptions()), self._from_rows(rows, PassOptions()))
                shared, whole = (torch.cat([places.logprobs for places in way]) for way in ways)
        except torch.OutOfMemoryError:
            raise  # says nothing about the cache
        except (AttributeError, NotImplementedError, TypeError, ValueError, RuntimeError, IndexError) as exc:
            why = f"{type(exc).__name__}: {exc}"
        else:
            if torch.allclose(shared, whole, rtol=1e-3, atol=1e-3):
                return True
            why = "its cache gives other numbers"
        log.warning("action=load_student student=%s: reads every answer with its prompt, slower: %s", self.name, why)
        return False

    def _last_up_projection(self) -> Any | None:
        layers = [module for name, module in self.model.named_modules() if name.endswith(".mlp.up_proj")]
        return layers[-1] if layers else None


def _common_start(rows: Sequence[Row]) -> int:
    """The number of tokens that all rows begin with, leaving each row one more; 0 for a single row."""
    if len(rows) < 2:
        return 0
    first = rows[0].ids
    shared = min(len(row.ids) for row in rows) - 1
    for row in rows[1:]:
        shared = next((place for place in range(shared) if row.ids[place] != first[place]), shared)
    return shared


def _split(places: _Places, counts: list[int]) -> list[_Places]:
    parts = [[None] * len(counts) if values is None else values.split(counts) for values in places]
    return [_Places(*row) for row in zip(*parts, strict=True)]


def _from(places: _Places, start: int) -> _Places:
    """From the place `start` on, which may lie behind the end."""
    return _Places(*(None if values is None else values[start:] for values in places))


def _join(one: _Places, other: _Places) -> _Places:
    pairs = zip(one, other, strict=True)
    return _Places(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))


def _padded(ids: Sequence[list[int]], starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(rows, longest) ids, attention, and the places asked about. Causal attention never sees padding on the right."""
    shape = (len(ids), max(len(row) for row in ids))
    padded = torch.zeros(shape, dtype=torch.long)
    attention, asked = torch.zeros_like(padded), torch.zeros(shape, dtype=torch.bool)
    for number, (row, start) in enumerate(zip(ids, starts, strict=True)):
        padded[number, : len(row)] = torch.tensor(row)
        attention[number, : len(row)] = 1
        asked[number, start : len(row)] = True
    return padded, attention, asked


class _Tap:
    """Keeps a layer's outputs while the block runs; nothing where there is no layer."""

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

    def directions(self, rows: Sequence[Row], shared: int) -> Sequence[Tensor | None]:
        """Each row's activations, from one padded pass, from one a row, or from one of what they share and a second."""
        if self._layer is None:
            return [None] * len(rows)
        every = [activations for taken in self._taken for activations in taken]
        begin = unit(every.pop(0)) if shared else None
        own = [unit(activations[: len(row.ids) - shared]) for activations, row in zip(every, rows, strict=True)]
        return own if begin is None else [torch.cat([begin, rest]) for rest in own]


def row_of(encoded: Encoded) -> Row:
    """The row of an encoded answer: it asks about the tokens that the mask marks, at the end."""
    return Row(encoded.ids, len(encoded.ids) - sum(encoded.mask))
