"""Two hosts as two network namespaces: one with Postgres, the broker and the teachers, one with the worker.

The link between them is cut and mended. Nothing is refused then: packets vanish, as when a cable is pulled.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fleet import Fleet, Ground, execute
from sqlalchemy.engine import make_url
from start import LEASE_TTL_S

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session
from persyn.services import postgres, valkey
from persyn.services.embedded import wait_until

NET = f"10.{200 + os.getpid() % 50}"
CONTROL = f"{NET}.9.1"  # on the control host's loopback, reached over whichever link is up
PORT, BROKER_PORT, STUB_PORT = 5432, 6379, 8000
STARTED = "import sys; from persyn import services; from persyn.config import Settings;"
STARTED += "services.connect(Settings.from_environment())"


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


class Hosts:
    """Two namespaces, the link between them, and a line from here to the control host for the tests' own questions."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:5]
        self.control, self.worker, self._line = f"control-{tag}", f"worker-{tag}", f"line-{tag}"
        self._link = f"link-{tag}"
        try:
            for name in (self.control, self.worker):
                run(f"ip netns add {name}")
                run(f"ip -n {name} link set lo up")
            run(f"ip -n {self.control} addr add {CONTROL}/32 dev lo")
            run(f"ip -n {self.control} link add {self._link} type veth peer name wan netns {self.worker}")
            run(f"ip -n {self.control} addr add {NET}.0.1/30 dev {self._link}")
            run(f"ip -n {self.worker} addr add {NET}.0.2/30 dev wan")
            run(f"ip link add {self._line} type veth peer name tests netns {self.control}")
            run(f"ip addr add {NET}.1.2/30 dev {self._line}")
            run(f"ip -n {self.control} addr add {NET}.1.1/30 dev tests")
            for where in (f"-n {self.control} link set {self._link}", f"-n {self.worker} link set wan",
                          f"-n {self.control} link set tests", f"link set {self._line}"):  # fmt: skip
                run(f"ip {where} up")
            run(f"ip -n {self.worker} route add {CONTROL} via {NET}.0.1")
            run(f"ip route add {CONTROL} via {NET}.1.1")
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        run(f"ip -n {self.control} link set {self._link} down")

    def mend(self) -> None:
        run(f"ip -n {self.control} link set {self._link} up")

    def close(self) -> None:
        for name in (self.control, self.worker):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", self._line], capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` command here, so no network namespaces can be made")
    tried = subprocess.run(["ip", "netns", "add", "persyn-probe"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no network namespaces can be made here: {tried.stderr.strip()}")
    run("ip netns del persyn-probe")
    hosts = Hosts()
    yield hosts
    hosts.close()


@pytest.fixture
def ground(hosts: Hosts, tmp_path: Path) -> Iterator[Ground]:
    """Postgres over TCP with a password, the broker likewise, and the stub, all in the control host's namespace.

    Not in `tmp_path`: each session of pytest shuts that folder to all other accounts, Postgres' own among them.
    """
    with tempfile.TemporaryDirectory(prefix="persyn-hosts-") as folder:
        yield from control_host(hosts, Path(folder) / "control", tmp_path / "control.log")


def control_host(hosts: Hosts, home: Path, log_path: Path) -> Iterator[Ground]:
    secret = uuid.uuid4().hex
    settings = Settings(home=home, database_url=None, broker_url=None)
    inside = ["ip", "netns", "exec", hosts.control]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PERSYN_")}
    environment["PERSYN_HOME"] = str(home)
    processes = []

    def up() -> None:
        subprocess.run([*inside, sys.executable, "-c", STARTED], check=True, env=environment)

    try:
        up()
        engine = session.connect(postgres.url(home))
        migrate.upgrade(engine)
        engine.dispose()
        admin = make_url(postgres.url(home)).set(database="postgres").render_as_string(False)
        execute(admin, f"ALTER USER persyn PASSWORD '{secret}'")
        execute(admin, f"ALTER SYSTEM SET listen_addresses = '{CONTROL}'")
        with (postgres.data_folder(home) / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {NET}.0.0/16 scram-sha-256\n")
        services.stop(settings)
        up()
        broker = [
            str(valkey._server()),
            "--bind",
            CONTROL,
            "--port",
            str(BROKER_PORT),
            "--requirepass",
            secret,
            "--save",
            "",
        ]
        stub = [sys.executable, "-m", "persyn.inference.servers.stub", "--host", CONTROL, "--port", str(STUB_PORT)]
        with log_path.open("ab") as log:
            for command in (broker, [*stub, "--model", "stub-model"]):
                processes.append(subprocess.Popen([*inside, *command], stdout=log, stderr=log))
        assert wait_until(stub_answers, 60), log_path.read_text()
        url = f"redis://:{secret}@{CONTROL}:{BROKER_PORT}/0"
        yield Ground(home, admin, "persyn", url, f"http://{CONTROL}:{STUB_PORT}/v1")
    finally:
        for process in processes:
            process.kill()
            process.wait()
        services.stop(settings)


def stub_answers() -> bool:
    try:
        return httpx.get(f"http://{CONTROL}:{STUB_PORT}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def fleet(ground: Ground, hosts: Hosts, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(ground, tmp_path)
    secret = ground.broker_url.split("@")[0].rpartition(":")[2]
    fleet.environment |= {
        "PERSYN_DATABASE_URL": f"postgresql://persyn:{secret}@{CONTROL}:{PORT}/{fleet.database}",
        "PERSYN_BROKER_URL": ground.broker_url,
    }
    fleet.prefix = ["ip", "netns", "exec", hosts.worker]
    yield fleet
    fleet.close()


@pytest.mark.chaos_long
@pytest.mark.parametrize("cut_s", [LEASE_TTL_S / 3, LEASE_TTL_S * 4])
def test_a_link_that_is_cut_and_mended_loses_and_doubles_nothing(fleet: Fleet, hosts: Hosts, cut_s: float) -> None:
    fleet.load(600)
    fleet.start()
    for _ in range(3):
        fleet.working()
        fleet.fault()
        hosts.cut()
        threading.Event().wait(cut_s)
        hosts.mend()
        fleet.mended()
    fleet.finish()
    fleet.verdict(f"two hosts, their link cut for {cut_s:.0f} s")


@pytest.mark.chaos_long
def test_a_worker_gives_up_connections_that_nobody_answers(fleet: Fleet, hosts: Hosts) -> None:
    """The link stays cut until the worker says that its connections are dead; nothing but its own patience tells it."""
    fleet.load(400)
    fleet.start()
    fleet.working()
    fleet.fault()
    said = fleet.log.stat().st_size
    hosts.cut()
    fleet.eventually(lambda: " is away: " in fleet.log.read_text()[said:])
    hosts.mend()
    fleet.mended()
    fleet.finish()
    fleet.verdict("two hosts, their link cut until the worker gives its connections up")
