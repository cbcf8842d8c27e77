"""The queue: jobs, leases and wake-ups. docs/state_machine.md describes the protocol.

`jobs.claim(...)` and its like are the protocol's functions; what else belongs to a queue has a module of its own.
"""

from persyn.jobs.protocol import (
    ALONE_AFTER_LOSSES,
    LEASE_TTL_S,
    Claim,
    Count,
    Failure,
    Place,
    Reading,
    cancel,
    claim,
    close,
    complete,
    counts,
    enqueue,
    enqueue_stage,
    fail,
    fold_counts,
    heartbeat,
    history,
    hold,
    limit_idling,
    lose,
    next_group,
    open_lease,
    reap,
    revive,
    storable,
    waiting,
)

__all__ = [
    "ALONE_AFTER_LOSSES", "LEASE_TTL_S", "Claim", "Count", "Failure", "Place", "Reading", "cancel", "claim", "close",
    "complete", "counts", "enqueue", "enqueue_stage", "fail", "fold_counts", "heartbeat", "history", "hold",
    "limit_idling", "lose", "next_group", "open_lease", "reap", "revive", "storable", "waiting",
]  # fmt: skip
