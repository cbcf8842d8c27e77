"""Quality without a reference answer: the share of the other teachers' answers that end in the same final answer.

Each text's final answer is found first, and only final answers are compared, by the process that math_verify asks. An
answer without one agrees with nobody, and nobody with it. Agreement says nothing where teachers share a mistake.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from persyn.errors import JobFailed
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.checker import the_checker

_ASSERTED = frozenset({"sentence", "last_in_sight"})
_SHOWN = 200  # characters of a final answer


class _Final(NamedTuple):
    """A text's final answer: its values, several where any may be meant; none, where it gives none."""

    values: tuple[str, ...]
    basis: str


def consensus_score(answer: str, votes: Mapping[str, str]) -> Measurement | JobFailed:
    """The share of the votes, other teachers' answers by their names, whose final answer is that of the answer.

    A vote whose final answer cannot be compared with this one's is left out. JobFailed `nobody_to_compare`: there is no
    vote; `no_final_answer`: neither the answer nor a vote has one; `unchecked`: no vote can be compared with it.

    detail: the final `answer` and its `basis`, as for math_verify; how many `voted` and `agreed`; the teachers that
    `agree`, that `differ`, and that are `unclear`. Raises ServerError if the child process cannot start.
    """
    if not votes:
        return _failed(
            "nobody_to_compare", "No other teacher's answer to the prompt is there to compare this one with."
        )
    own = _final(answer)
    others = {name: _final(text) for name, text in votes.items()}
    if own is None:
        return _failed("unchecked", "Finding its final answer took more than 5 s or 4 GiB.")
    if not own.values and not any(other.values for other in others.values() if other is not None):
        return _failed("no_final_answer", "Neither this answer nor another one to the prompt has a final answer.")
    verdicts = {name: _agrees(own, other) for name, other in others.items()}
    agree, differ, unclear = ([name for name in verdicts if verdicts[name] is told] for told in (True, False, None))
    voted = len(agree) + len(differ)
    if not voted:
        return _failed("unchecked", f"The final answers of {', '.join(unclear)} cannot be compared with this one.")
    detail = {"answer": " = ".join(own.values)[:_SHOWN], "basis": own.basis, "voted": voted, "agreed": len(agree)}
    return Measurement(len(agree) / voted, detail | {"agree": agree, "differ": differ, "unclear": unclear})


def _failed(code: str, message: str) -> JobFailed:
    return JobFailed(code, message, permanent=True)


def _agrees(own: _Final, other: _Final | None) -> bool | None:
    if other is None:
        return None
    if not own.values or not other.values:
        return False
    same = _same(*sorted((own.values, other.values)))
    # What nobody calls the answer, and nobody can read, is none.
    return False if same is None and {own.basis, other.basis} & _ASSERTED else same


# A prompt's answers stand side by side in the queue, and each is compared with each.
@lru_cache(maxsize=256)
def _final(text: str) -> _Final | None:
    """None where it took too long to find."""
    found = the_checker.ask("find", text)
    return None if found["value"] is None else _Final(tuple(found["value"]), found["detail"]["basis"])


@lru_cache(maxsize=1024)
def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool | None:
    verdict: bool | None = the_checker.ask("same", one, other)["value"]
    return verdict
