"""Chooses the queue that a worker drains next: one model is loaded at a time, and changing it costs minutes.

It is a rule without database, clock or server, so that it can be tried on every case.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# Work that has waited for this long goes first, even if another model must be loaded for it.
STARVED_S = 900.0


class Candidate(NamedTuple):
    """A queue with work that is due. `loaded`: nothing would have to be loaded or moved to drain it.

    `aside`: its work is asked of an endpoint, so that it can be done beside what needs this host's model.
    """

    queue: str
    jobs: int
    oldest_s: float  # for how long its oldest due job could have been taken
    loaded: bool
    aside: bool = False
    stage: int = 0  # of the job that a claim would take first


class Places(NamedTuple):
    """The places of one worker: one for work on this host, which keeps one model, and some for endpoints beside it."""

    aside: int

    def free_for(self, candidates: Sequence[Candidate], drained: Mapping[str, bool]) -> list[Candidate]:
        """The candidates that may be drained now. drained: queue → whether it is drained aside."""
        host_is_busy = not all(drained.values())
        no_room_aside = sum(drained.values()) >= self.aside
        return [
            candidate for candidate in candidates
            if candidate.queue not in drained and not (no_room_aside if candidate.aside else host_is_busy)
        ]  # fmt: skip

    def rivals_of(self, queue: str, candidates: Sequence[Candidate], drained: Mapping[str, bool]) -> list[Candidate]:
        """The queue itself and the candidates that wait for its place."""
        aside = drained.get(queue, False)
        if aside and sum(drained.values()) < self.aside:
            return []
        others = [candidate for candidate in candidates if candidate.queue not in drained and candidate.aside == aside]
        return others + [candidate for candidate in candidates if candidate.queue == queue]


def choose(candidates: Sequence[Candidate], *, starved_s: float = STARVED_S) -> str | None:
    """The queue to drain next; None where no candidate has work.

    What is loaded goes first, and of that the earliest stage: one run's last stage never holds another's first. What
    is not loaded waits until its oldest job is older than that queue's by `starved_s`; the longest waiting goes first,
    so none starves for good. Without anything loaded the one with most work is next. The name tells equals apart, so
    that two workers with the same view choose the same.
    """
    open_ = [candidate for candidate in candidates if candidate.jobs > 0]
    if not open_:
        return None

    def starving(one: Candidate) -> float:
        return one.oldest_s if one.oldest_s >= starved_s else 0.0

    best = min(open_, key=lambda c: (not c.loaded, c.stage * c.loaded, -starving(c), -c.jobs, -c.oldest_s, c.queue))
    longest = max(open_, key=lambda c: (not c.loaded, c.oldest_s, c.queue))
    return longest.queue if not longest.loaded and longest.oldest_s >= best.oldest_s + starved_s else best.queue


def should_yield(current: str, candidates: Sequence[Candidate], *, starved_s: float = STARVED_S) -> bool:
    """Whether a drain that still has work must make room.

    It must for an earlier stage that needs no loading, and for a queue that has waited longer by `starved_s`, unless
    that is a later stage.
    """
    own = next((one for one in candidates if one.queue == current and one.jobs > 0), None)
    others = [one for one in candidates if one.queue != current and one.jobs > 0]
    if own is None:
        return any(other.oldest_s >= starved_s for other in others)

    def goes_first(other: Candidate) -> bool:
        if other.loaded and other.stage != own.stage:
            return other.stage < own.stage
        return other.oldest_s >= own.oldest_s + starved_s

    return any(map(goes_first, others))
