import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persyn import processes
from persyn.inference.servers.server import reap_orphans

# A server that ignores SIGTERM, with a child that has left its session and one that has not.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
near = subprocess.Popen(["sleep", "1000"])
print(away.pid, near.pid, file=open(sys.argv[1], "w"), flush=True)
time.sleep(1000)
"""


def gone(pid: int, started: int) -> Callable[[], bool]:
    return lambda: not processes.running(pid, started) and not processes.members(pid, started)


def start_time(pid: int) -> int:
    started = processes.start_time(pid)
    assert started is not None
    return started


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a child that holds the pipe"])
def test_a_worker_killed_with_9_leaves_no_server(
    fork: bool, start_worker: Callable[..., Any], eventually: Callable[..., None], home: Path
) -> None:
    worker, pid, _ = start_worker(fork=fork)
    is_gone = gone(pid, start_time(pid))
    assert not is_gone()
    worker.kill()
    eventually(is_gone)
    eventually(lambda: list((home / "servers").iterdir()) == [])


def test_a_guardian_killed_with_9_takes_its_server_with_it(
    start_worker: Callable[..., Any], eventually: Callable[..., None], home: Path
) -> None:
    _, pid, _ = start_worker()
    is_gone = gone(pid, start_time(pid))
    [record] = (home / "servers").glob("*.json")
    os.kill(json.loads(record.read_text())["guardian"], signal.SIGKILL)
    eventually(is_gone)


def test_what_outlives_worker_and_guardian_is_reaped_by_the_next_worker(
    start_worker: Callable[..., Any], eventually: Callable[..., None], home: Path
) -> None:
    worker, pid, _ = start_worker()
    is_gone = gone(pid, start_time(pid))
    [record] = (home / "servers").glob("*.json")
    guardian = json.loads(record.read_text())["guardian"]
    os.kill(pid, signal.SIGSTOP)  # so that it cannot obey the SIGTERM that its guardian's death sends
    os.kill(guardian, signal.SIGKILL)
    eventually(lambda: processes.start_time(guardian) is None)
    assert reap_orphans(home) == []  # the worker still lives, and knows what to do
    worker.kill()
    worker.wait()
    assert not is_gone()
    assert reap_orphans(home) == [pid]
    assert is_gone()
    assert not record.exists()


@pytest.fixture
def stubborn(tmp_path: Path, eventually: Callable[..., None]) -> Any:
    """A guardian of a stubborn server: (the guardian, [the pids of server, far child, near child])."""
    pids_file, record = tmp_path / "pids", tmp_path / "record.json"
    argv = [
        sys.executable,
        "-m",
        "persyn.inference.servers.guardian",
        "--owner",
        str(os.getpid()),
        "--record",
        str(record),
        "--log",
        str(tmp_path / "server.log"),
    ]
    argv += ["--", sys.executable, "-c", STUBBORN, str(pids_file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guardian:
        assert guardian.stdout is not None
        server = int(guardian.stdout.readline())
        eventually(lambda: pids_file.exists() and pids_file.read_text().endswith("\n"))
        yield guardian, [server, *map(int, pids_file.read_text().split())]
        guardian.kill()


def test_the_end_of_stdin_ends_everything_after_the_grace_that_it_names(stubborn: Any) -> None:
    guardian, pids = stubborn
    assert all(processes.start_time(pid) for pid in pids)
    guardian.communicate(b"0.2\n")
    assert [processes.start_time(pid) for pid in pids] == [None, None, None]


def test_a_server_killed_with_9_takes_its_children_with_it(stubborn: Any) -> None:
    guardian, pids = stubborn
    os.kill(pids[0], signal.SIGKILL)
    assert guardian.wait() == 128 + signal.SIGKILL
    assert [processes.start_time(pid) for pid in pids] == [None, None, None]


def test_a_guardian_asked_to_end_ends_its_server_first(stubborn: Any) -> None:
    guardian, pids = stubborn
    guardian.stdin.write(b"0.2\n")
    guardian.stdin.flush()
    guardian.terminate()
    guardian.wait()
    assert [processes.start_time(pid) for pid in pids] == [None, None, None]
