"""The system user that root's embedded Postgres runs as, made by several processes at once on a fresh machine."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest

MAKE = """
import pwd, sys, time
from persyn.services import embedded
embedded.ACCOUNT = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
uid = embedded.unprivileged_account().uid
print(uid, flush=True)
sys.stdin.readline()
print(pwd.getpwuid(uid).pw_name)
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("userdel") is None, reason="only root can make users")
@pytest.mark.parametrize("attempt", range(3))
def test_all_processes_find_the_same_user(attempt: int) -> None:
    name = f"persyn{uuid.uuid4().hex[:12]}"
    made = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(4)
    ]
    try:
        told = []
        for step in ("start", "look"):
            told = [process.stdout.readline().strip() for process in made if process.stdout]
            for process in made:
                assert process.stdin
                process.stdin.write(f"{step}\n")
        assert len(set(told)) == 1
        assert [process.communicate()[0].strip() for process in made] == [name] * 4
    finally:
        for process in made:
            process.kill()
            process.wait()
        subprocess.run(["userdel", name], capture_output=True, check=False)
