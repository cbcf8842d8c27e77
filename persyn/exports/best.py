"""The best of several answers to a prompt, of one teacher or of several, by what was measured on them.

Those that are right come first, then those without a flaw, then the higher combined reward; of equals the one that was
asked for first. An export takes an answer that it keeps before one that it would leave behind.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, text

from persyn import runs
from persyn.exports.rows import Answer
from persyn.rewards import matrix, several

_BATCH = 256  # prompts whose rewards are combined at once

_CANDIDATES = text("""
SELECT a.prompt_id, a.teacher, a.generation_id, a.sample_index, a.quality, a.learnability, a.flaws, a.scores, a.losses,
       d.basis, d.attempt
FROM routing_decision d
JOIN audit.answer a ON a.run_id = d.run_id AND a.prompt_id = d.prompt_id AND a.teacher_id = d.teacher_id
                   AND a.sample_index < d.samples
WHERE d.run_id = :run_id AND d.policy = :policy AND (CAST(:prompt_id AS bigint) IS NULL OR d.prompt_id = :prompt_id)
  AND (d.samples > 1 OR EXISTS (
      SELECT FROM routing_decision other
      WHERE other.run_id = d.run_id AND other.policy = d.policy AND other.prompt_id = d.prompt_id
        AND other.attempt = 2))
ORDER BY d.prompt_id, d.attempt, a.sample_index
""")


class SampledAnswer(NamedTuple):
    """One of a prompt's answers, without its text."""

    prompt_id: int
    teacher: str
    generation_id: int
    sample_index: int
    quality: float | None
    learnability: float | None
    flaw_words: list[str]
    scores: dict[str, float] | None
    losses: dict[str, float] | None
    basis: str
    attempt: int
    reward: float | None = None


A = TypeVar("A", Answer, SampledAnswer)


def groups(conn: Connection, run: runs.Run, answers: Iterable[A]) -> Iterator[list[A]]:
    """The answers to each prompt, which come together; of several, each with its reward and learnability among them.

    Calibration answers stay apart: their rewards are measured among all teachers.
    """
    scorers = matrix.scorers(conn, run.id)
    apart = (list(group) for _, group in groupby(answers, key=_whose))
    while part := list(islice(apart, _BATCH)):
        values = [[_raw(answer) for answer in group] for group in part if len(group) > 1]
        standings = iter(several.standings(values, scorers, run.config))
        for group in part:
            yield group if len(group) == 1 else _with_standings(group, next(standings))


def _whose(answer: Answer | SampledAnswer) -> tuple[int, str]:
    return answer.prompt_id, answer.teacher if answer.basis == "measured" else ""


def _with_standings(group: list[A], standings: list[several.Standing]) -> list[A]:
    return [
        answer._replace(learnability=standing.learnability, reward=standing.reward)
        for answer, standing in zip(group, standings, strict=True)
    ]


def best(group: Sequence[A], keep: Sequence[str] = ()) -> A:
    """The best of one prompt's answers, for an export that keeps these flaws."""

    def rank(answer: A) -> tuple[bool, bool, bool, float, int, int]:
        flaws = {*answer.flaw_words}
        reward = float("-inf") if answer.reward is None else answer.reward
        return flaws <= {*keep}, "wrong" not in flaws, not flaws, reward, -answer.attempt, -answer.sample_index

    return max(group, key=rank)


def candidates(conn: Connection, run: runs.Run, prompt_id: int | None = None) -> Iterator[list[SampledAnswer]]:
    """The answers to each prompt that the run asked several of, or to this prompt alone."""
    values = {"run_id": run.id, "policy": run.config.policy, "prompt_id": prompt_id}
    found = conn.execute(_CANDIDATES, values, execution_options={"yield_per": 1000})
    return groups(conn, run, (SampledAnswer(*row) for row in found))


def _raw(answer: Answer | SampledAnswer) -> several.RawScores:
    return several.RawScores(_by_id(answer.scores), _by_id(answer.losses))


def _by_id(scores: Mapping[str, float] | None) -> dict[int, float]:
    return {int(scorer_id): value for scorer_id, value in (scores or {}).items()}
