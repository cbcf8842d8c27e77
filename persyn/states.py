"""The state machine of a job, as data: every state, every transition, and the event each one writes.

docs/state_machine.md draws it; `audit.integrity` checks every job's events against it.
"""

from enum import IntEnum, StrEnum


class Stage(IntEnum):
    """The stages of a run in their order; a job's `stage` is one of these numbers, and earlier stages go first."""

    CALIBRATE = 10  # every teacher answers the calibration prompts
    SCORE = 20  # those answers are scored
    TRAIN = 30  # the router learns from the scores
    ROUTE = 40  # every prompt gets its teacher
    GENERATE = 50  # each teacher answers its own prompts
    SCORE_ROUTED = 60  # those answers are scored too, where the run asks for it
    REROUTE = 70  # prompts whose answers are not good enough get another teacher, where the run asks for it
    TRAIN_STUDENT = 80  # a student learns the set; when somebody asks for it, and no run waits for it


class JobState(StrEnum):
    READY = "ready"  # waits in its queue, from `not_before` on
    LEASED = "leased"  # a worker computes it under a lease
    DONE = "done"  # its result is stored; final
    DEAD = "dead"  # it will not be tried again unless an operator says so; `error_code` says why; final
    CANCELLED = "cancelled"  # an operator took it back; final


class JobEvent(StrEnum):
    ENQUEUED = "enqueued"  # → ready
    CLAIMED = "claimed"  # ready → leased
    COMPLETED = "completed"  # leased → done
    RETRIED = "retried"  # leased → ready: a transient error, to be tried after a pause
    RELEASED = "released"  # leased → ready: handed back unfinished; no attempt spent
    LOST = "lost"  # leased → ready: the lease ran out or was revoked
    DIED = "died"  # leased → dead: a permanent error, or no attempts left
    CANCELLED = "cancelled"  # ready or dead → cancelled
    REVIVED = "revived"  # dead or cancelled → ready: an operator wants it after all


FINAL: frozenset[JobState] = frozenset({JobState.DONE, JobState.DEAD, JobState.CANCELLED})

TRANSITIONS: dict[JobEvent, tuple[frozenset[JobState | None], JobState]] = {
    JobEvent.ENQUEUED: (frozenset({None}), JobState.READY),
    JobEvent.CLAIMED: (frozenset({JobState.READY}), JobState.LEASED),
    JobEvent.COMPLETED: (frozenset({JobState.LEASED}), JobState.DONE),
    JobEvent.RETRIED: (frozenset({JobState.LEASED}), JobState.READY),
    JobEvent.RELEASED: (frozenset({JobState.LEASED}), JobState.READY),
    JobEvent.LOST: (frozenset({JobState.LEASED}), JobState.READY),
    JobEvent.DIED: (frozenset({JobState.LEASED}), JobState.DEAD),
    JobEvent.CANCELLED: (frozenset({JobState.READY, JobState.DEAD}), JobState.CANCELLED),
    JobEvent.REVIVED: (frozenset({JobState.DEAD, JobState.CANCELLED}), JobState.READY),
}


def follow(events: list[JobEvent]) -> JobState | None:
    """The state that a chain of events leads to.

    Raises ValueError at the first event that its state does not allow.
    """
    state: JobState | None = None
    for position, event in enumerate(events):
        sources, target = TRANSITIONS[event]
        if state not in sources:
            raise ValueError(f"event {position} ({event}) is not allowed in state {state}")
        state = target
    return state
