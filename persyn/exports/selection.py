"""Decides which answers become rows, and counts those that do not."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from persyn.config import Export, Layout
from persyn.exports import calls, layouts
from persyn.exports.best import best
from persyn.exports.contamination import Benchmarks, Match
from persyn.exports.layouts import RowForm
from persyn.exports.manifest import BELOW_BAR, Split
from persyn.exports.pairs import pairs
from persyn.exports.rows import Answer
from persyn.exports.splits import Splits
from persyn.rewards.matrix import CalibrationScores


class ExportedRow(NamedTuple):
    """A row of the files."""

    split: Split
    values: dict[str, Any]
    characters: int  # of its prompt and its answers


class Rules(NamedTuple):
    """The settings that decide over a row and its look."""

    export: Export
    shape: RowForm
    splits: Splits
    benchmarks: Benchmarks | None = None  # whose items no row may hold
    separates: bool = False  # whether what is below the bar, and has no other flaw, goes into files of its own


class Tally:
    """The counts of one pass, for the manifest and the card."""

    def __init__(self) -> None:
        self.by_split: Counter[Split] = Counter()
        self.by_teacher: Counter[str] = Counter()
        self.tokens_by_teacher: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.flawed: Counter[str] = Counter()
        self.unchecked = self.below_bar = 0
        self.passed_over = 0
        self.longest = 0
        self.matches: list[tuple[Answer, Match]] = []  # of contaminated rows
        self.first: datetime | None = None
        self.last: datetime | None = None

    def add(self, answer: Answer, split: Split, characters: int) -> None:
        self.by_split[split] += 1
        self.by_teacher[answer.teacher] += 1
        self.tokens_by_teacher[answer.teacher] += answer.completion_tokens or 0
        self.flawed.update(answer.flaw_words)
        self.unchecked += not answer.checked
        self.longest = max(self.longest, characters)
        self.first = min(self.first or answer.created_at, answer.created_at)
        self.last = max(self.last or answer.created_at, answer.created_at)


def training_rows(answers: Iterable[Answer], rules: Rules, tally: Tally) -> Iterator[ExportedRow]:
    """The rows of sound answers, and of flawed ones that the export keeps."""
    for answer in answers:
        keep = [*rules.export.keep, *([BELOW_BAR] if rules.separates else [])]
        reason = _reason_against(answer, rules.export.layout, keep) or _contaminated([answer], rules, tally)
        if reason is not None:
            tally.left_out[reason] += 1
            continue
        size = _characters(answer)
        if rules.separates and BELOW_BAR in answer.flaw_words:
            split = BELOW_BAR
            tally.below_bar += 1
        else:
            split = rules.splits.of(answer.prompt_id)
            tally.add(answer, split, size)
        yield ExportedRow(split, layouts.row(answer, rules.shape), size)


def best_answers(groups: Iterable[list[Answer]], keep: Sequence[str], tally: Tally) -> Iterator[Answer]:
    """The best answer to each prompt; the others are counted."""
    for group in groups:
        tally.passed_over += len(group) - 1
        yield best(group, keep)


def preference_rows(answers: Iterable[Answer], rules: Rules, tally: Tally) -> Iterator[ExportedRow]:
    """The rows of pairs; a prompt whose rewards do not differ enough is left out as `no_pair`."""
    for pair in pairs(answers, rules.export.margin, rules.export.keep):
        reason = "no_pair" if pair is None else _contaminated(pair, rules, tally)
        if pair is None or reason is not None:
            tally.left_out[str(reason)] += 1
            continue
        split = rules.splits.of(pair.chosen.prompt_id)
        size = _characters(pair.chosen) + _characters(pair.rejected)
        tally.add(pair.chosen, split, size)
        yield ExportedRow(split, layouts.preference_row(pair.chosen, pair.rejected, rules.shape), size)


def with_rewards(answers: Iterable[Answer], measured: CalibrationScores, teachers: list[str]) -> Iterator[Answer]:
    """The answers; those to calibration prompts with reward and learnability among all teachers.

    teachers: in coefficient order.
    """
    learnability = measured.raw_learnability()
    row_of = {prompt_id: row for row, prompt_id in enumerate(measured.prompt_ids)}
    column_of = {name: column for column, name in enumerate(teachers)}
    for answer in answers:
        row = row_of.get(answer.prompt_id) if answer.reward is None else None
        if row is None:
            yield answer
            continue
        place = row, column_of[answer.teacher]
        yield answer._replace(
            reward=_known(measured.reward[place]), learnability=_known(learnability[place], answer.learnability)
        )


def _known(value: float, otherwise: float | None = None) -> float | None:
    return otherwise if np.isnan(value) else float(value)


def _reason_against(answer: Answer, layout: Layout, keep: Sequence[str]) -> str | None:
    for flaw in answer.flaw_words:
        if flaw not in keep:
            return flaw
    if layout == "verl" and not answer.reference_answer:
        return "no_reference_answer"
    if layout == "llamafactory" and calls.text_beside_call(answer):
        return "text_beside_call"
    return None


def _contaminated(answers: Iterable[Answer], rules: Rules, tally: Tally) -> str | None:
    """The reason `contaminated` where one of a row's answers, or its prompt, is too like a benchmark's item."""
    if rules.benchmarks is None:
        return None
    for answer in answers:
        match = rules.benchmarks.match(answer)
        if match is not None:
            tally.matches.append((answer, match))
            return "contaminated"
    return None


def _characters(answer: Answer) -> int:
    prompt = sum(len(message["content"]) for message in answer.messages)
    offered = len(calls.offered(answer, "messages")) if answer.tools else 0
    return prompt + offered + len(answer.reasoning) + len(answer.text) + len(calls.text(answer))
