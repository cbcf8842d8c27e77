import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from persyn.inference.servers.server import Server, ServerSpec

STUB = ServerSpec("stub-model", revision=None, dtype="auto", max_model_len=200, args=(), kind="stub")
WORKER = """
import os, sys
from pathlib import Path
from persyn.inference.servers.server import Server, ServerSpec
server = Server.start(ServerSpec(sys.argv[2], None, "auto", 1024, (), sys.argv[3]), Path(sys.argv[1]))
if sys.argv[4] == "fork":
    if os.fork() == 0:
        sys.stdin.read()  # a child that holds the guardian's pipe open
        os._exit(0)
print(server.pid, server.base_url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def stub_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One stub for all tests that only talk to it; prompts must differ where counts matter."""
    server = Server.start(STUB, tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    """A stub of the test's own, to be ill-treated."""
    server = Server.start(STUB, home)
    yield server
    server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start_worker(home: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int, str]]]:
    """Starts a process that starts a server: (the process, the server's pid, its base URL)."""
    workers: list[subprocess.Popen[str]] = []

    def start(
        model: str = "stub-model", kind: str = "stub", *, fork: bool = False
    ) -> tuple[subprocess.Popen[str], int, str]:
        argv = [sys.executable, "-c", WORKER, str(home), model, kind, "fork" if fork else "alone"]
        worker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        workers.append(worker)
        assert worker.stdout is not None
        pid, base_url = worker.stdout.readline().split()
        return worker, int(pid), base_url

    yield start
    for worker in workers:
        worker.kill()
        worker.communicate()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Polls until the condition holds; fails at the deadline."""

    def wait(condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.05)

    return wait
