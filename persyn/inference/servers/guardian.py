"""Keeps one server from outliving its worker.

    python -m persyn.inference.servers.guardian --owner PID --record FILE --log FILE -- COMMAND

A worker that dies by `kill -9` cannot clean up, and vLLM's engine processes survive the death of their parent. So the
worker starts this small process instead and holds its stdin. The kernel closes that pipe however the worker dies; then
the guardian ends the server's whole session and whatever else descends from it. It imports little (psutil adds 15 ms
to its start), because it must be up before the worker could have died.

It also bounds the server's log, which is its own standard error: what is too long moves to FILE.1.

Protocol: stdout gets the server's pid in one line; stdin may carry one line, the grace in seconds, before its end.
"""

import argparse
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from persyn import processes
from persyn.files import replacing

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 10.0
CRASH_GRACE_S = 2.0  # what a dead server's children get: time to give back shared memory, no more
WATCH_S = 0.5
LOG_BYTES = 16 * 1024 * 1024  # of a log, and as many of its earlier part


def main(argv: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m persyn.inference.servers.guardian")
    parser.add_argument("--owner", type=int, required=True, help="the worker's pid")
    parser.add_argument("--record", type=Path, required=True, help="where to write down what is running")
    parser.add_argument("--log", type=Path, required=True, help="the file that standard error is")
    split = argv.index("--")
    args, command = parser.parse_args(argv[:split]), argv[split + 1 :]
    signals: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda received, _frame: signals.append(received))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = _spawn(command)
    grace_s = GRACE_S
    try:
        _write_record(args.record, child.pid, args.owner)
        with contextlib.suppress(BrokenPipeError):
            os.write(1, f"{child.pid}\n".encode())
        grace_s = _watch(child, args.owner, args.log, signals)
    finally:
        _end(child, grace_s)
        args.record.unlink(missing_ok=True)
    sys.exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    # SIGTERM, not SIGKILL: without the guardian only the server itself can still end its children.
    end = partial(processes.end_with, os.getpid())
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True, preexec_fn=end
    )


def _write_record(path: Path, server: int, owner: int) -> None:
    """For `server.reap_orphans`, should this process be killed too."""
    record: dict[str, str | int] = {"boot": processes.boot_id()}
    for name, pid in (("server", server), ("guardian", os.getpid()), ("owner", owner)):
        record |= {name: pid, f"{name}_started": processes.start_time(pid) or 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps(record).encode())


def _watch(child: subprocess.Popen[bytes], owner: int, log: Path, signals: list[int]) -> float:
    """Wait until the server exits, the worker is gone or asks for the end. Returns the grace in seconds."""
    received = b""
    exited = os.pidfd_open(child.pid)
    # A process that the worker forked may hold the pipe open after its death, hence the look at the parent as well.
    while not signals and os.getppid() == owner:
        _bound(log)
        ready, _, _ = select.select([0, exited], [], [], WATCH_S)
        if exited in ready:
            return CRASH_GRACE_S
        if ready:
            chunk = os.read(0, 64)
            received += chunk
            if not chunk:
                break
    with contextlib.suppress(ValueError):
        return float(received)
    return GRACE_S


def _bound(log: Path, at_most: int = LOG_BYTES) -> None:
    """Move a log that is too long aside. The server goes on in the same file; a line of this moment may be lost."""
    with contextlib.suppress(OSError):  # no room for two
        if log.stat().st_size <= at_most:
            return
        with contextlib.suppress(OSError):
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM to everything that descends from here; SIGKILL to what is left after the grace."""
    deadline = time.monotonic() + grace_s
    processes.send(processes.descendants(os.getpid()), signal.SIGTERM)
    while pids := processes.descendants(os.getpid()):
        if time.monotonic() > deadline:
            processes.send(pids, signal.SIGKILL)
        time.sleep(processes.POLL_S)
    child.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
