import os
import subprocess
import sys
from pathlib import Path

from persyn.inference.servers import processes


def test_a_process_is_itself_and_a_pid_with_another_start_time_is_not() -> None:
    found = processes.stat(os.getpid())
    assert found is not None
    assert processes.running(os.getpid(), found.started)
    assert not processes.running(os.getpid(), found.started + 1)


def test_a_zombie_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # until it is dead, without collecting it
        assert processes.stat(child.pid) is None


def test_a_name_with_spaces_and_parentheses_is_no_puzzle(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    os.symlink("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as child:
        found = processes.stat(child.pid)
        child.kill()
    assert found is not None
    assert found.parent == os.getpid()


def test_a_grandchild_is_a_descendant() -> None:
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as child:
        try:
            found = processes.stat(child.pid)
            assert found is not None
            while len(pids := processes.members(child.pid, found.started)) < 2:
                assert child.poll() is None
            assert set(pids) <= {child.pid, *processes.descendants(os.getpid())}
        finally:
            assert processes.kill_session(child.pid, found.started if found else 0)
