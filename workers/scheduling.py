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

    A queue that has waited for `starved_s` goes first, the longest first. None is starved, because a drained queue gets
    younger. The loaded model's queue counts as older by as much again, or queues that were filled at the same moment
    would take turns once all are old. Then come the loaded model's queues, then the one with most work. Age, then the
    name, tells equals apart, so that two workers with the same view choose the same.
    """
    open_ = [candidate for candidate in candidates if candidate.jobs > 0]
    starving = [candidate for candidate in open_ if candidate.oldest_s >= starved_s]
    if starving:
        return min(starving, key=lambda c: (-c.oldest_s - starved_s * c.loaded, c.loaded, c.queue)).queue
    if not open_:
        return None
    return min(open_, key=lambda c: (not c.loaded, -c.jobs, -c.oldest_s, c.queue)).queue


def should_yield(current: str, candidates: Sequence[Candidate], *, starved_s: float = STARVED_S) -> bool:
    """Whether a drain that still has work must make room: another queue has waited longer, and by `starved_s`."""
    ages = {candidate.queue: candidate.oldest_s for candidate in candidates if candidate.jobs > 0}
    own = ages.pop(current, 0.0)
    return max(ages.values(), default=0.0) >= own + starved_s
