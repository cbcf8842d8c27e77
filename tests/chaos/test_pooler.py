"""A pooler between the fleet and Postgres, which gives each transaction another session, and which dies."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import TIMES, Fleet

from persyn.services import postgres
from persyn.services.embedded import unprivileged_account, wait_until

SETTINGS = """
[databases]
* = host={folder} port=5432 user=persyn
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
server_lifetime = 5
"""


class Pooler:
    """pgbouncer in transaction mode before the fleet's Postgres, as the account that owns its socket."""

    def __init__(self, command: str, fleet: Fleet) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._account = unprivileged_account()
        folder = postgres.socket_path(fleet.ground.home).parent
        self._settings = Path("/tmp") / f"persyn-pooler-{fleet.tag}.ini"
        self._settings.write_text(SETTINGS.format(folder=folder, port=self.port))
        self._settings.chmod(0o644)
        self._command = command
        self.start()

    def start(self) -> None:
        ids = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        self._process = subprocess.Popen([self._command, self._settings], **ids, **quiet)  # type: ignore[call-overload]
        assert wait_until(self._answers, 30), "the pooler does not listen"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._settings.unlink()


@pytest.fixture
def pooler(fleet: Fleet) -> Iterator[Pooler]:
    command = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if command is None:
        pytest.skip("pgbouncer is not installed here")
    pooler = Pooler(command, fleet)
    fleet.environment["PERSYN_DATABASE_URL"] = f"postgresql://persyn@127.0.0.1:{pooler.port}/{fleet.database}"
    yield pooler
    pooler.close()


@pytest.mark.parametrize("times", [1, pytest.param(TIMES, marks=pytest.mark.chaos_long)])
def test_a_pooler_in_transaction_mode_that_is_killed_loses_and_doubles_nothing(
    fleet: Fleet, pooler: Pooler, times: int
) -> None:
    fleet.load(200 * times)
    workers = [fleet.start(), fleet.start()]
    for number in range(times):
        fleet.working()
        fleet.fault()
        pooler.kill()
        pooler.start()
        if number % 4 == 3:  # what a worker that died held in the pooler's sessions is nobody's
            fleet.kill(workers.pop(0))
            workers.append(fleet.start())
        fleet.mended()
    fleet.finish()
    fleet.revive_dead()
    fleet.finish()
    fleet.verdict("pgbouncer in transaction mode, killed and started again", workers=3)
