"""Measures answers by any of the field's notions of learnability.

All measures of an answer come from the same forward pass. One of them (`ifd`) also needs the answer alone, which is a
second, shorter pass.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch

from persyn.chat import Answered, Encoded, answer_alone, with_answer
from persyn.config import Ifd, LearnabilityScorer, RankSurprisal, Scas
from persyn.errors import ChatError, JobFailed
from persyn.rewards.batches import by_length, read_each, unreadable
from persyn.rewards.learnability import measures
from persyn.rewards.learnability.measures import TokenScores
from persyn.rewards.learnability.student import Row, Student, row_of
from persyn.rewards.measurement import Measurement

SAVED_AT_LEAST = 128  # tokens: for less, a pass over one prompt's answers alone is not worth it

Progress = Callable[[int, int], None]


class Learnability:
    """A student that measures answers."""

    def __init__(
        self,
        model_path: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int,
        tokens_per_batch: int = 4096,
    ) -> None:
        """Load the student (see `Student`). Raises ModelError.

        `tokens_per_batch` bounds a batch's padded size (rows × longest row).
        """
        self.student = Student(model_path, revision=revision, device=device, dtype=dtype)
        self.max_length = max_length
        self.tokens_per_batch = tokens_per_batch

    def score(
        self,
        items: Sequence[Answered],
        scorers: Sequence[LearnabilityScorer],
        on_progress: Progress | None = None,
    ) -> list[list[Measurement | JobFailed]]:
        """Measure answers: a list for each item, with one result for each scorer.

        An item that cannot be scored gives JobFailed and leaves the others alone: `empty_answer`, `context_too_long`,
        `template_refused`, `no_tools`, `unreadable`, `scoring_failed`, `not_finite`; `not_measurable` where the student
        lacks what one of the scorers measures. `on_progress(done, total)` is called after each batch.
        Raises ModelError.
        """
        limits = [scorer.answer_tokens for scorer in scorers]
        longest = None if None in limits else max(cast("list[int]", limits), default=None)
        results: list[list[Measurement | JobFailed]] = [[] for _ in items]
        encoded: dict[int, Encoded] = {}
        for index, item in enumerate(items):
            prepared = self._prepare(Answered(*item), longest)
            if isinstance(prepared, JobFailed):
                results[index] = [prepared] * len(scorers)
            else:
                encoded[index] = prepared
        done = len(items) - len(encoded)
        for batch in self._batches(encoded):
            answers = [encoded[index] for index in batch]
            token_scores = read_each(answers, lambda part: list(self._token_scores(part, scorers)), "The student")
            for index, scores in zip(batch, token_scores, strict=True):
                results[index] = [self._measure(scorer, scores) for scorer in scorers]
            done += len(batch)
            if on_progress:
                on_progress(done, len(items))
        return results

    def _prepare(self, item: Answered, answer_tokens: int | None) -> Encoded | JobFailed:
        if not item.answer.strip() and not item.tool_calls:
            return JobFailed("empty_answer", "The answer is empty, so there is no token to score.", permanent=True)
        tokenizer = self.student.tokenizer
        try:
            return with_answer(tokenizer, *item, max_length=self.max_length, answer_tokens=answer_tokens)
        except ChatError as exc:
            return exc
        except Exception as exc:  # text from outside in a tokenizer from outside
            return unreadable(exc)

    def _batches(self, encoded: dict[int, Encoded]) -> Iterator[list[int]]:
        """Answers to one prompt side by side, where reading it once saves enough; the others by length."""
        lengths = {index: len(item.ids) for index, item in encoded.items()}
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for index, item in encoded.items():
            by_prompt.setdefault(tuple(item.ids[: len(item.ids) - sum(item.mask)]), []).append(index)
        alone: list[int] = []
        for prompt, indices in by_prompt.items():
            if (len(indices) - 1) * len(prompt) < SAVED_AT_LEAST:
                alone += indices
            else:
                yield from by_length({index: lengths[index] for index in indices}, self.tokens_per_batch)
        yield from by_length({index: lengths[index] for index in alone}, self.tokens_per_batch)

    def _token_scores(self, batch: Sequence[Encoded], scorers: Sequence[LearnabilityScorer]) -> Iterator[TokenScores]:
        student = self.student
        activations = any(isinstance(scorer, Scas) for scorer in scorers)
        rows = [row_of(item) for item in batch]
        stats = student.read(
            # The prompt's own loss is scas's second term.
            [row._replace(start=1) for row in rows] if activations else rows,
            ranks=any(isinstance(scorer, RankSurprisal) for scorer in scorers),
            activations=activations,
        )
        alone = self._alone(batch) if any(isinstance(scorer, Ifd) for scorer in scorers) else [None] * len(batch)
        for row, one, unprompted in zip(rows, stats, alone, strict=True):
            tokens = len(row.ids) - row.start
            scores = TokenScores(one.logprobs[-tokens:], None if one.ranks is None else one.ranks[-tokens:], unprompted)
            if one.directions is None:
                yield scores
                continue
            special = student.special(row.ids)
            question = ~special
            question[row.start :] = False
            asked = -one.logprobs[question[1:]]
            yield scores._replace(
                question_nll=float(asked.mean()) if len(asked) else 0.0,
                question_direction=one.directions[question].mean(dim=0) if question.any() else None,
                answer_directions=torch.where(special[:, None], 0.0, one.directions)[row.start :],
            )

    def _alone(self, batch: Sequence[Encoded]) -> list[torch.Tensor]:
        """log p(y_t | y_<t) of each answer without its prompt; NaN for a first token that nothing precedes."""
        answers = [answer_alone(self.student.tokenizer, item) for item in batch]
        rows = [Row(ids, max(1, begin)) for ids, begin in answers]
        # A single token that nothing precedes has nothing to be read.
        readable = [row for row in rows if len(row.ids) > row.start]
        stats = iter(self.student.read(readable) if readable else [])
        logprobs_alone = []
        for row, (ids, begin) in zip(rows, answers, strict=True):
            logprobs = torch.full((len(ids) - begin,), math.nan, device=self.student.device)
            if len(row.ids) > row.start:
                logprobs[row.start - begin :] = next(stats).logprobs
            logprobs_alone.append(logprobs)
        return logprobs_alone

    def _measure(self, scorer: LearnabilityScorer, scores: TokenScores | JobFailed) -> Measurement | JobFailed:
        if isinstance(scores, JobFailed):
            return scores
        if isinstance(scorer, Scas) and scores.answer_directions is None:
            lacks = (
                f"The student {self.student.name} has no mlp.up_proj layer, whose activations the measure scas compares"
            )
            return JobFailed("not_measurable", f"{lacks}. Use another measure for it.", permanent=True)
        scores = measures.first(scores, scorer.answer_tokens)
        match scorer:
            case Scas():
                result = measures.scas(scores, scorer.question_weight)
            case RankSurprisal():
                result = measures.rank_surprisal(scores)
            case Ifd():
                result = measures.ifd(scores)
            case _:
                result = measures.loglik(scores)
        if not math.isfinite(result.value):
            reason = "The answer's single token cannot be read without its prompt" if isinstance(scorer, Ifd) else None
            message = f"{reason or 'The student gives no finite value here; use a wider dtype'}."
            return JobFailed("not_finite", message, permanent=True)
        return result
