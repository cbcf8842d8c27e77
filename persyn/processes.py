"""The processes of this machine: which of them run, which belong together, and how to end whole families of them.

A pid alone identifies no process, because the kernel gives it away again; a pid with its start time does, and records
on disk hold that pair. The start time is counted in clock ticks since boot (`boot_id` names the boot and the
container): psutil's own `create_time` is a time of day, which moves when the machine's clock is set.

A server's processes are found by their session: its guardian starts it in a new one, and children that outlive their
parent stay in it. A zombie counts as gone everywhere. Sessions, boot ids and start times are those of Linux, like vLLM.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

POLL_S = 0.05
_LIBC = ctypes.CDLL(None)  # loaded before any fork
_PR_SET_PDEATHSIG = 1


def boot_id() -> str:
    """The name of this boot and of this container; start times and pids mean nothing under another one."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of `pid`; None where no such process runs."""
    try:
        process = psutil.Process(pid)  # a new one each time: it would remember the boot time of its first answer
        with process.oneshot():
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return None
            since_boot = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return None
    return round(since_boot * os.sysconf("SC_CLK_TCK"))


def running(pid: int, started: int) -> bool:
    """Whether the very process that began at `started` still runs."""
    return start_time(pid) == started


def members(session: int, started: int) -> list[int]:
    """The pids in the session whose leader began at `started`; none where the leader's pid has a new owner."""
    if start_time(session) not in (None, started):
        return []
    starts = {pid: start_time(pid) for pid in psutil.pids() if _session(pid) == session}
    return [pid for pid, start in starts.items() if start is not None and start >= started]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it ended meanwhile
        return None


def descendants(root: int) -> list[int]:
    """The pids of the children of `root`, of their children and so on."""
    try:
        family = psutil.Process(root).children(recursive=True)
    except psutil.Error:
        return []
    return [process.pid for process in family if start_time(process.pid) is not None]


def works_in(pid: int, folder: Path) -> bool:
    """Whether `pid` is a running process whose working directory is `folder`."""
    try:
        return psutil.Process(pid).cwd() == str(folder.resolve())
    except (psutil.Error, ValueError):  # ValueError: a pid below 0, from a damaged file
        return False


def pids_in(folder: Path, program: str) -> list[int]:
    """The pids of the processes called `program` that work in `folder`."""
    pids = [process.pid for process in psutil.process_iter(["name"]) if process.info["name"] == program]
    return [pid for pid in pids if works_in(pid, folder)]


def send(pids: Iterable[int], signum: signal.Signals) -> None:
    """Send the signal to those that still run and that we may signal."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def end_with(parent: int) -> None:
    """Let the kernel send SIGTERM to this process when its parent dies: for a child between its fork and its start."""
    if sys.platform != "linux":
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def kill_session(session: int, started: int, *, deadline_s: float = 10.0) -> bool:
    """SIGKILL the session until it is empty. False when something (a process stuck in the kernel) outlives that."""
    deadline = time.monotonic() + deadline_s
    while pids := members(session, started):
        send(pids, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
