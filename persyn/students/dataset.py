"""Answers as rows of token ids and labels: the very tokens that learnability counts, and the end of the turn."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from persyn.chat import Answered, Tokenizer, with_answer
from persyn.errors import ChatError, JobFailed

IGNORED = -100  # the label of a token that no loss is taken of, in every library


class Lesson(NamedTuple):
    """One conversation. `labels`: the ids of the answer and of what ends it; IGNORED before them."""

    ids: list[int]
    labels: list[int]


class TrainingSet(NamedTuple):
    rows: list[Lesson]
    left_out: dict[str, int]  # answers that give no row, by the reason's code

    @property
    def tokens(self) -> int:
        """The number of tokens that a loss is taken of in one pass; the first of a row has no prediction."""
        return sum(label != IGNORED for row in self.rows for label in row.labels[1:])

    @property
    def stop_ids(self) -> list[int]:
        """The ids at which a student that learnt these rows stops."""
        return sorted({row.ids[-1] for row in self.rows})

    def sha256(self) -> str:
        """One hash over ids and labels in their order."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(np.array([len(row.ids), *row.ids, *row.labels], dtype="<i4").tobytes())
        return digest.hexdigest()


def training_set(tokenizer: Tokenizer, answers: Iterable[Answered], max_length: int) -> TrainingSet:
    """The rows of all answers that the student can read whole.

    Raises ChatError `no_stop_token` where its template ends no turn, JobFailed `empty_set` where no row is left.
    """
    rows: list[Lesson] = []
    left_out: Counter[str] = Counter()
    for answered in answers:
        try:
            encoded = with_answer(tokenizer, *answered, max_length=max_length, include_end=True)
        except ChatError as exc:
            if exc.code == "no_stop_token":
                raise
            left_out[exc.code] += 1
            continue
        labels = [token if learnt else IGNORED for token, learnt in zip(encoded.ids, encoded.mask, strict=True)]
        rows.append(Lesson(encoded.ids, labels))
    if not rows:
        raise JobFailed("empty_set", f"no answer gives a row to learn from ({_reasons(left_out)})", permanent=True)
    return TrainingSet(rows, dict(left_out))


def _reasons(left_out: Counter[str]) -> str:
    told = {"context_too_long": "longer than student.max_length, which may be raised"}
    parts: Sequence[str] = [f"{number:,}: {told.get(code, code)}" for code, number in sorted(left_out.items())]
    return ", ".join(parts) or "there are none"
