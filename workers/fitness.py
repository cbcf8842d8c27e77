"""The work that this worker cannot do now, for a reason of its host's, and when it looks again.

A missing key, package, model or GPU concerns one teacher, scorer or run of a queue: the worker does the rest of it, and
other workers do this. An error that nobody foresaw keeps it from the whole queue. Each failure doubles the wait, and
the first success forgets it. Nothing of this touches a queue, and the caller tells the time.
"""

from collections.abc import Iterator
from typing import NamedTuple

from persyn.jobs import Without
from persyn.jobs.workers import Unfit
from persyn.waits import Backoff

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 600.0
TRIED_WITHIN_S = 60.0


class Need(NamedTuple):
    """Work of a queue that needs one thing of the host: a teacher's, a scorer's or a run's; without them all of it."""

    queue: str
    teacher_id: int | None = None
    scorer_id: int | None = None
    run_id: int | None = None

    @property
    def is_whole_queue(self) -> bool:
        return self.teacher_id is self.scorer_id is self.run_id is None


class _Lack(NamedTuple):
    reason: str
    until: float
    backoff: Backoff


class Fitness:
    """The needs that this host does not meet. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._lacks: dict[Need, _Lack] = {}

    def failed(self, need: Need, reason: str, now: float) -> float:
        """Leave this work alone for a while, longer each time; returns for how many seconds."""
        known = self._lacks.get(need)
        backoff = Backoff(first_s=FIRST_WAIT_S, cap_s=LONGEST_WAIT_S) if known is None else known.backoff
        wait = backoff.failed()
        self._lacks[need] = _Lack(reason, now + wait, backoff)
        return wait

    def worked(self, need: Need) -> bool:
        """The work can be done; returns whether it could not be before."""
        return self._lacks.pop(need, None) is not None

    def serves(self, queue: str, now: float) -> bool:
        """Whether the queue as a whole may be drained."""
        return not any(need.is_whole_queue for need in self._lacking(queue, now))

    def without(self, queue: str, now: float) -> Without:
        """The groups of the queue that are to be left alone."""
        lacking = list(self._lacking(queue, now))
        return Without(
            [need.run_id for need in lacking if need.run_id is not None],
            [need.teacher_id for need in lacking if need.teacher_id is not None],
            [need.scorer_id for need in lacking if need.scorer_id is not None],
        )

    def report(self, now: float) -> list[Unfit]:
        """Each reason once a queue; also for a minute after its wait, until the work was tried again."""
        found: dict[tuple[str, str], float] = {}
        for need, lack in list(self._lacks.items()):
            if lack.until + TRIED_WITHIN_S > now:
                key = need.queue, lack.reason
                found[key] = max(found.get(key, 0.0), lack.until - now)
        return [Unfit(queue, reason, wait) for (queue, reason), wait in found.items()]

    def _lacking(self, queue: str, now: float) -> Iterator[Need]:
        for need, lack in list(self._lacks.items()):
            if need.queue == queue and lack.until > now:
                yield need
