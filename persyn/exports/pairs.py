"""Pairs of answers for preference training: the best and the worst measured answer to a calibration prompt."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from persyn.config import Flaw
from persyn.exports.rows import Answer


class Pair(NamedTuple):
    chosen: Answer
    rejected: Answer

    @property
    def lead(self) -> float:
        return _reward(self.chosen) - _reward(self.rejected)


def pairs(answers: Iterable[Answer], margin: float, keep: Sequence[Flaw]) -> Iterator[Pair | None]:
    """For each prompt its pair, or None where its rewards do not differ by `margin`. Answers come prompt by prompt.

    A chosen answer has no flaw, though the run may have hoped for a better one. A rejected one may be wrong, and has
    another flaw only where `keep` names it: else a student would learn to dislike short answers instead of bad ones.
    """
    for _, group in groupby(answers, key=lambda answer: answer.prompt_id):
        measured = [answer for answer in group if answer.reward is not None]
        sound = [answer for answer in measured if {*answer.flaw_words} <= {"below_bar"}]
        allowed = [answer for answer in measured if {*answer.flaw_words} <= {"wrong", "below_bar", *keep}]
        if not sound or not allowed:
            yield None
            continue
        pair = Pair(max(sound, key=_reward), min(allowed, key=_reward))
        differ = (pair.chosen.text, pair.chosen.tool_calls) != (pair.rejected.text, pair.rejected.tool_calls)
        yield pair if differ and pair.lead > 0 and pair.lead >= margin else None


def _reward(answer: Answer) -> float:
    assert answer.reward is not None
    return answer.reward
