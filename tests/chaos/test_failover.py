"""Postgres' host is lost, and its replica is promoted: the fleet finds it among the hosts of its address."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import TIMES, Fleet, Ground, execute
from proxy import Proxy
from sqlalchemy import text
from sqlalchemy.engine import make_url

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.inference.servers.server import Server
from persyn.inference.servers.spec import ServerSpec
from persyn.services import postgres
from persyn.services.embedded import Account, accepts, run, unprivileged_account, wait_until

SETTINGS = {
    "wal_level": "replica", "max_wal_senders": "4", "shared_buffers": "64MB", "synchronous_commit": "on",
}  # fmt: skip
STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"


class Pair:
    """The server that takes writes and, once `stand_by` was called, one that follows it, each behind its own port."""

    def __init__(self, folder: Path, data: Path, sockets: Path) -> None:
        self._folder, self._data, self._sockets = folder, data, sockets
        self._standby: tuple[Path, Path] | None = None
        self._account: Account = unprivileged_account()
        self._tools = postgres.tools_folder()
        self._made = 0
        self.proxies = [Proxy(str(sockets / postgres.SOCKET)), Proxy(str(sockets / "nobody"))]
        ports = ",".join(str(proxy.port) for proxy in self.proxies)
        self.address = f"host=127.0.0.1,127.0.0.1&port={ports}&target_session_attrs=read-write"
        self.address += "&sslmode=disable&gssencmode=disable"

    def url(self, database: str, sockets: Path | None = None) -> str:
        at = self.address if sockets is None else f"host={sockets}&port=5432"
        return f"postgresql+psycopg://persyn@/{database}?{at}"

    def stand_by(self) -> None:
        """A replica of the server, which from then on commits nothing that the replica has not written."""
        self._made += 1
        folder = self._folder / f"r{self._made}"
        folder.mkdir(mode=0o700)
        os.chown(folder, self._account.uid, self._account.gid)
        copy = [self._tools / "pg_basebackup", "-D", "data", "-R", "-h", self._sockets, "-U", "persyn"]
        self._run([*copy, "-c", "fast", "--no-sync"], folder)
        self._control(folder, "start", "-l", "log", "-w", "-o", f"-c unix_socket_directories={folder}")
        self._standby = folder / "data", folder
        admin = self.url("postgres", self._sockets)
        assert wait_until(lambda: self._ask(admin, STREAMS) == 1, 60)
        execute(admin, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        execute(admin, "SELECT pg_reload_conf()")
        self.proxies[self._made % 2].target = str(folder / postgres.SOCKET)

    def fail_over(self) -> None:
        """The server is gone at once, and the replica takes its place."""
        assert self._standby is not None
        pid_file = self._data / "postmaster.pid"
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
        assert wait_until(lambda: not accepts_at(self._sockets) and not pid_file.exists(), 30)  # its last act
        shutil.rmtree(self._data)
        self._data, self._sockets = self._standby
        self._control(self._sockets, "promote", "-w")

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        if self._made:
            self._control(self._sockets, "stop", "-m", "immediate")

    def _control(self, folder: Path, action: str, *options: str) -> None:
        self._run([self._tools / "pg_ctl", "-D", "data", action, *options], folder)

    def _run(self, command: list[str | Path], folder: Path) -> None:
        run(command, self._account, folder)

    def _ask(self, url: str, statement: str) -> int:
        engine = session.connect(url)
        with engine.connect() as conn:
            found = int(conn.execute(text(statement)).scalar_one())
        engine.dispose()
        return found


def accepts_at(folder: Path) -> bool:
    return (folder / postgres.SOCKET).exists() and accepts(folder / postgres.SOCKET)


@pytest.fixture
def pair() -> Iterator[tuple[Pair, Ground]]:
    with tempfile.TemporaryDirectory(prefix="persyn-pair-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        settings = Settings(home=folder / "home", database_url=None, broker_url=None)
        endpoints = services.connect(settings)
        pair, stub = None, None
        try:
            engine = session.connect(endpoints.database_url)
            migrate.upgrade(engine)
            engine.dispose()
            admin = make_url(endpoints.database_url).set(database="postgres").render_as_string(False)
            for key, value in SETTINGS.items():
                execute(admin, f"ALTER SYSTEM SET {key} = '{value}'")
            services.stop(settings)
            endpoints = services.connect(settings)
            stub = Server.start(ServerSpec("stub-model", kind="stub"), folder / "stub")
            home = settings.home
            pair = Pair(folder, postgres.data_folder(home), postgres.socket_path(home).parent)
            yield pair, Ground(home, pair.url("postgres"), "persyn", endpoints.broker_url, stub.base_url)
        finally:
            if pair is not None:
                pair.close()
            if stub is not None:
                stub.stop()
            services.stop(settings)


@pytest.mark.chaos_long
def test_a_promoted_replica_takes_over_and_nothing_is_lost_or_doubled(
    pair: tuple[Pair, Ground], tmp_path: Path
) -> None:
    servers, ground = pair
    fleet = Fleet(ground, tmp_path)
    fleet.environment["PERSYN_DATABASE_URL"] = fleet.database_url.replace("+psycopg", "")
    try:
        fleet.load(300 * TIMES)
        fleet.start()
        for _ in range(TIMES):
            fleet.configure_stub(latency_s=10.0)  # a replica takes its time, and there must be work left
            servers.stand_by()
            fleet.configure_stub(latency_s=0.3)
            fleet.working()
            stored = set(fleet.rows("SELECT prompt_id, text FROM generation"))
            fleet.fault()
            servers.fail_over()
            fleet.mended()
            assert stored <= set(fleet.rows("SELECT prompt_id, text FROM generation"))
        fleet.finish()
        fleet.verdict("Postgres lost, its replica promoted", explained=False)
    finally:
        fleet.close()
