import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from persyn import processes

# A leader of a session with a child in it, and a grandchild that left the session; both children outlive their parents.
FAMILY = """
import subprocess, sys
near = subprocess.Popen(["sleep", "60"])
away = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(near.pid, away.pid, flush=True)
sys.stdin.read()
"""


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


@pytest.fixture
def family() -> Iterator[tuple["subprocess.Popen[str]", int, int]]:
    """(the leader, the pid of the child in its session, the pid of the child in another)."""
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        near, away = map(int, leader.stdout.readline().split())
        yield leader, near, away
        processes.send([leader.pid, near, away], signal.SIGKILL)


def started(pid: int) -> int:
    start = processes.start_time(pid)
    assert start is not None
    return start


def test_a_process_is_itself_and_a_pid_with_another_start_time_is_not() -> None:
    assert processes.running(os.getpid(), started(os.getpid()))
    assert not processes.running(os.getpid(), started(os.getpid()) + 1)


def test_a_start_time_is_the_kernels_own_which_earlier_records_hold() -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert started(os.getpid()) == int(fields[19])


def test_a_start_time_stays_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = started(os.getpid())
    boot_time = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time + 3600)
    assert psutil.boot_time() == boot_time + 3600
    assert started(os.getpid()) == before


def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], cwd=tmp_path) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # until it is dead, without collecting it
        assert processes.start_time(child.pid) is None
        assert child.pid not in processes.descendants(os.getpid())
        assert not processes.works_in(child.pid, tmp_path)


def test_a_name_with_spaces_and_parentheses_is_no_puzzle(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    os.symlink("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as child:
        assert processes.start_time(child.pid)
        child.kill()


def test_a_session_has_its_leader_and_the_children_that_stayed(
    family: tuple["subprocess.Popen[str]", int, int],
) -> None:
    leader, near, away = family
    start = started(leader.pid)
    assert set(processes.members(leader.pid, start)) == {leader.pid, near}
    assert processes.kill_session(leader.pid, start)
    assert processes.start_time(near) is None
    assert processes.start_time(away)


def test_a_session_outlives_its_leader(family: tuple["subprocess.Popen[str]", int, int]) -> None:
    leader, near, _ = family
    start = started(leader.pid)
    leader.kill()
    leader.wait()
    assert processes.members(leader.pid, start) == [near]
    assert processes.members(leader.pid, started(near) + 1) == []
    assert processes.kill_session(leader.pid, start)
    assert processes.members(leader.pid, start) == []


@pytest.mark.parametrize("shift", [-1, 1], ids=["an earlier leader", "a later leader"])
def test_a_session_of_another_leader_has_no_members(
    family: tuple["subprocess.Popen[str]", int, int], shift: int
) -> None:
    leader, near, _ = family
    assert processes.members(leader.pid, started(leader.pid) + shift) == []
    assert processes.start_time(near)


def test_children_and_their_children_are_descendants(family: tuple["subprocess.Popen[str]", int, int]) -> None:
    leader, near, away = family
    assert {leader.pid, near, away} <= set(processes.descendants(os.getpid()))
    assert set(processes.descendants(leader.pid)) == {near, away}
    leader.kill()
    leader.wait()
    assert processes.descendants(leader.pid) == []


def test_a_process_is_recognised_by_the_folder_it_works_in(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        until(lambda: psutil.Process(process.pid).name() == "sleep")
        assert processes.works_in(process.pid, tmp_path)
        assert not processes.works_in(process.pid, tmp_path.parent)
        assert processes.pids_in(tmp_path, "sleep") == [process.pid]
        assert processes.pids_in(tmp_path, "postgres") == []
        process.kill()
        until(lambda: not processes.works_in(process.pid, tmp_path))  # although no one has reaped it yet
        assert processes.pids_in(tmp_path, "sleep") == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("pid", [-1, 0, 99999999, 10**30])
def test_no_process_has_an_impossible_pid(tmp_path: Path, pid: int) -> None:
    assert not processes.works_in(pid, tmp_path)


@pytest.mark.slow
def test_a_container_has_a_name_of_its_own_although_the_boot_is_the_same() -> None:
    code = "from persyn import processes; print(processes.boot_id())"
    done = subprocess.run(["unshare", "--pid", "--fork", sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no namespace of pids can be made here")
    assert done.stdout.strip() != processes.boot_id()
    assert done.stdout.split()[0] == processes.boot_id().split()[0]
