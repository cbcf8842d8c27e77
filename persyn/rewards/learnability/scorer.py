"""Measures answers by any of the field's notions of learnability.

All measures of an answer come from the same forward pass. Two of them read more: `ifd` the answer alone, which is a
second, shorter pass, and `local_naturalness` each step that lies further in than its window, in that window.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import torch

from persyn.chat import Answered, Encoded, answer_alone, with_answer
from persyn.config import Ifd, Lark, LearnabilityScorer, LocalNaturalness, RankSurprisal, Scas
from persyn.errors import ChatError, JobFailed
from persyn.rewards.batches import by_length, read_each, unreadable
from persyn.rewards.learnability import measures
from persyn.rewards.learnability.measures import TokenScores
from persyn.rewards.learnability.steps import step_numbers, windows
from persyn.rewards.learnability.student import PassOptions, Row, Student, TokenStats, row_of
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
        ids = {index: item.ids for index, item in encoded.items()}
        for batch in self._batches(ids, {index: row_of(item).start for index, item in encoded.items()}):
            answers = [encoded[index] for index in batch]
            token_scores = read_each(answers, lambda part: self._token_scores(part, scorers), "The student")
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

    def _batches(self, rows: Mapping[int, list[int]], prompts: Mapping[int, int]) -> Iterator[list[int]]:
        """Rows after one prompt side by side, where reading it once saves enough; the others by length.

        rows: token ids; prompts: how many of them are the prompt's.
        """
        lengths = {index: len(ids) for index, ids in rows.items()}
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for index, ids in rows.items():
            by_prompt.setdefault(tuple(ids[: prompts[index]]), []).append(index)
        alone: list[int] = []
        for prompt, indices in by_prompt.items():
            if (len(indices) - 1) * len(prompt) < SAVED_AT_LEAST:
                alone += indices
            else:
                yield from by_length({index: lengths[index] for index in indices}, self.tokens_per_batch)
        yield from by_length({index: lengths[index] for index in alone}, self.tokens_per_batch)

    def _token_scores(self, batch: Sequence[Encoded], scorers: Sequence[LearnabilityScorer]) -> list[TokenScores]:
        rows = [row_of(item) for item in batch]
        activations = any(isinstance(scorer, Scas) for scorer in scorers)
        stats = self.student.read(
            # The prompt's own loss is scas's second term.
            [row._replace(start=1) for row in rows] if activations else rows,
            PassOptions(
                ranks=any(isinstance(scorer, RankSurprisal) for scorer in scorers),
                brier=any(isinstance(scorer, Lark) for scorer in scorers),
            ),
            activations=activations,
        )
        scores = [self._of_answer(row, one) for row, one in zip(rows, stats, strict=True)]
        if any(isinstance(scorer, Ifd) for scorer in scorers):
            scores = [one._replace(alone=alone) for one, alone in zip(scores, self._alone(batch), strict=True)]
        sizes = {scorer.window for scorer in scorers if isinstance(scorer, LocalNaturalness)}
        return self._in_steps(rows, scores, sizes) if sizes else scores

    def _of_answer(self, row: Row, stats: TokenStats) -> TokenScores:
        """The part of a pass that is about the answer, and of the prompt what scas compares with it."""
        of_answer = slice(row.start - len(row.ids), None)
        scores = TokenScores(
            stats.logprobs[of_answer],
            None if stats.ranks is None else stats.ranks[of_answer],
            brier=None if stats.brier is None else stats.brier[of_answer],
        )
        if stats.directions is None:
            return scores
        special = self.student.special(row.ids)
        question = ~special
        question[row.start :] = False
        asked = -stats.logprobs[question[1:]]
        return scores._replace(
            question_nll=float(asked.mean()) if len(asked) else 0.0,
            question_direction=stats.directions[question].mean(dim=0) if question.any() else None,
            answer_directions=torch.where(special[:, None], 0.0, stats.directions)[row.start :],
        )

    def _in_steps(self, rows: Sequence[Row], scores: Sequence[TokenScores], sizes: set[int]) -> list[TokenScores]:
        """The scores with each token's step, and its likelihood in windows of these sizes."""
        numbers = [step_numbers(self.student.tokenizer, row.ids[row.start :]) for row in rows]
        local = {size: self._local(rows, scores, numbers, size) for size in sizes}
        return [
            one._replace(
                steps=torch.tensor(numbers[index], device=self.student.device),
                local={size: of_size[index] for size, of_size in local.items()},
            )
            for index, one in enumerate(scores)
        ]

    def _local(
        self, rows: Sequence[Row], scores: Sequence[TokenScores], numbers: Sequence[list[int]], size: int
    ) -> list[torch.Tensor]:
        """log p(y_t | x, the `size` steps before, its own step) of each answer; of its first steps it is known."""
        local = [one.logprobs.clone() for one in scores]
        asked = [(index, window) for index, steps in enumerate(numbers) for window in windows(steps, size)]
        read: list[Row] = []
        for index, (begin, step, end) in asked:
            ids, start = rows[index]
            read.append(Row(ids[:start] + ids[start + begin : start + end], start + step - begin))
        prompts = {number: rows[index].start for number, (index, _) in enumerate(asked)}
        for part in self._batches({number: row.ids for number, row in enumerate(read)}, prompts):
            for number, stats in zip(part, self.student.read([read[number] for number in part]), strict=True):
                index, window = asked[number]
                local[index][window.step : window.end] = stats.logprobs
        return local

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
            case Lark():
                result = measures.lark(scores)
            case LocalNaturalness():
                result = measures.local_naturalness(scores, scorer.window)
            case _:
                result = measures.loglik(scores)
        if not math.isfinite(result.value):
            reason = "The answer's single token cannot be read without its prompt" if isinstance(scorer, Ifd) else None
            message = f"{reason or 'The student gives no finite value here; use a wider dtype'}."
            return JobFailed("not_finite", message, permanent=True)
        return result
