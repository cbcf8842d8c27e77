"""What /proc knows about processes, and killing whole families of them (Linux only, like vLLM).

A pid alone names nobody: the kernel gives it away again. A pid with its start time does, so that is what is written
down. A server's processes are found by their session, because the guardian starts every server in a new one and
children that outlive their parent stay in it.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

POLL_S = 0.05


class Stat(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int
    started: int  # clock ticks since boot


def boot_id() -> str:
    """Names this boot of this machine: start times and pids mean nothing under another one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def stat(pid: int) -> Stat | None:
    """None where there is no such process, or only its zombie is left."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses itself, so count from the last one.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZXx":
        return None
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def running(pid: int, started: int) -> bool:
    """Whether the very process that began at `started` (clock ticks since boot) still runs."""
    found = stat(pid)
    return found is not None and found.started == started


def everyone() -> list[Stat]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [found for pid in pids if (found := stat(pid)) is not None]


def members(session: int, started: int) -> list[int]:
    """The pids in the session whose leader began at `started`; none where the leader's pid has a new owner."""
    processes = everyone()
    if any(process.pid == session and process.started != started for process in processes):
        return []
    return [process.pid for process in processes if process.session == session and process.started >= started]


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in everyone():
        children.setdefault(process.parent, []).append(process.pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def send(pids: Iterable[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def kill_session(session: int, started: int, *, deadline_s: float = 10.0) -> bool:
    """SIGKILL the session until it is empty. False when something (a process stuck in the kernel) outlives that."""
    deadline = time.monotonic() + deadline_s
    while pids := members(session, started):
        send(pids, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
