"""Why work waits: pauses, queues that nobody serves, workers that are busy elsewhere. Reads only."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from sqlalchemy import Connection, text

from persyn import jobs
from persyn.jobs import backlog, pauses, workers
from persyn.jobs.workers import WorkerState
from persyn.states import JobState

# A worker for everything listens to a new teacher's queue only after its next round, and a new worker to any.
UNSERVED_AFTER_S = 20.0
_WORKING = {WorkerState.WORKING, WorkerState.IDLE}

_LOOKS_THAT_FAILED = text("""
SELECT name, blocked_reason FROM run
WHERE blocked_reason IS NOT NULL AND finished_at IS NULL AND cancelled_at IS NULL
  AND (CAST(:run_id AS bigint) IS NULL OR id = :run_id)
ORDER BY id
""")
_NAMES = text("SELECT id, name FROM run WHERE id = ANY(:ids)")


class HoldUp(NamedTuple):
    """One thing that keeps jobs waiting, in a sentence."""

    kind: Literal[
        "look failed", "run paused", "queue paused", "no worker", "unserved", "unfit", "busy", "turn", "retry"
    ]
    sentence: str


class Waiting(NamedTuple):
    """The open jobs of one run or of all, by queue."""

    ready: Mapping[str, int]
    leased: Collection[str]  # the queues with jobs that workers hold
    oldest_s: Mapping[str, float]  # for how long the oldest of the ready jobs has been due; none where none is due
    ahead: Mapping[str, str] = MappingProxyType({})  # by queue another run whose jobs workers hold


def why_waiting(conn: Connection, run_id: int | None = None) -> list[HoldUp]:
    """All that holds a run up, or all runs; empty where the work goes on."""
    failed = [
        HoldUp("look failed", f"The last look at run {row.name} failed: {row.blocked_reason}")
        for row in conn.execute(_LOOKS_THAT_FAILED, {"run_id": run_id})
    ]
    ready: Counter[str] = Counter()
    leased: set[str] = set()
    others: dict[str, int] = {}
    for count in jobs.counts(conn):
        if run_id not in (None, count.run_id):
            if count.state == JobState.LEASED and count.jobs:
                others[count.queue] = count.run_id
        elif count.state == JobState.READY:
            ready[count.queue] += count.jobs
        elif count.state == JobState.LEASED:
            leased.add(count.queue)
    names = {row.id: row.name for row in conn.execute(_NAMES, {"ids": [*others.values()]})} if others else {}
    ahead = {queue: names[other] for queue, other in others.items() if other in names}
    oldest_s = {item.queue: item.oldest_s for item in backlog.read(conn)} if ready else {}
    held = [pause for pause in pauses.paused(conn) if run_id is None or pause.run_id in (None, run_id)]
    return failed + hold_ups(Waiting(ready, leased, oldest_s, ahead), held, workers.workers(conn))


def hold_ups(waiting: Waiting, held: Sequence[pauses.Pause], known: Sequence[workers.Worker]) -> list[HoldUp]:
    """The same from what the tables say."""
    found = [HoldUp("run paused", pause_sentence(pause)) for pause in held if pause.queue is None]
    there = [worker for worker in known if worker.state in _WORKING]
    open_queues = {queue: jobs for queue, jobs in waiting.ready.items() if jobs > 0}
    rest = dict(open_queues)
    for pause in held:
        queue = pause.queue
        if queue not in open_queues:
            continue
        # Of a queue that is held in part, others' jobs may be due.
        if pause.is_whole or queue not in waiting.oldest_s:
            rest.pop(queue, None)
            found.append(HoldUp("queue paused", f"{_wait(queue, open_queues[queue])}: {pause_sentence(pause)}"))
        else:
            found.append(HoldUp("queue paused", pause_sentence(pause)))
    if rest and not there:
        number = sum(rest.values())
        start = "`persyn worker --all` starts one, here or on another host"
        found.append(HoldUp("no worker", f"{_jobs(number)}, and no worker runs: {start}."))
    elif there:
        for queue, number in sorted(rest.items()):
            found += _unattended(queue, number, waiting, there)
    return found


def _unattended(queue: str, number: int, waiting: Waiting, there: Sequence[workers.Worker]) -> list[HoldUp]:
    if queue in waiting.leased:
        return []
    if queue not in waiting.oldest_s:
        return [HoldUp("retry", f"{_wait(queue, number)} for another attempt, or for what comes before.")]
    serving = [worker for worker in there if queue in worker.queues]
    if not serving:
        up_s = max((worker.seen_at - worker.started_at).total_seconds() for worker in there)
        if min(waiting.oldest_s[queue], up_s) < UNSERVED_AFTER_S:
            return []
        served = ", ".join(sorted({name for worker in there for name in worker.queues})) or "none"
        return [HoldUp("unserved", f"{_wait(queue, number)}, and no worker serves this queue (served: {served}).")]
    if why := workers.unserved(there).get(queue):
        return [HoldUp("unfit", f"{_wait(queue, number)}, and no worker can serve this queue. {why[0]}")]
    if waiting.leased:  # it has its turn elsewhere, and comes to this queue
        return []
    if all(worker.queue is not None and queue not in worker.queue.split(", ") for worker in serving):
        busy = ", ".join(f"{worker.name} works on {worker.queue} first" for worker in serving[:3])
        return [HoldUp("busy", f"{_wait(queue, number)}: {busy}.")]
    if queue in waiting.ahead:
        return [HoldUp("turn", f"{_wait(queue, number)}: run {waiting.ahead[queue]} goes first there.")]
    return []


def pause_sentence(pause: pauses.Pause) -> str:
    """Who holds what back, since when, until when, and why."""
    what = pause.queue if pause.queue is not None else f"run {pause.run}"
    what += f" ({pause.scorer})" if pause.scorer else ""
    until = f", until {pause.until_at:%F %T %Z}" if pause.until_at else ""
    why = f": {pause.reason}" if pause.reason else ""
    return f"{what} is paused by {pause.paused_by or 'an unknown person'} since {pause.paused_at:%F %T %Z}{until}{why}"


def _jobs(number: int) -> str:
    return "1 job waits" if number == 1 else f"{number:,} jobs wait"


def _wait(queue: str, number: int) -> str:
    return f"{queue}: {_jobs(number)}"
