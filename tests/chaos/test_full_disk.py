"""Postgres' disk is full: nothing can be stored for a while, and everything is once there is room again."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import TIMES, Fleet, execute
from start import LEASE_TTL_S

from persyn.services.embedded import unprivileged_account

LONG = pytest.mark.chaos_long
ROOM = 1 << 20


@pytest.fixture
def disk(fleet: Fleet) -> Iterator[Path]:
    """The fleet's database lies in a tablespace on a file system of 64 MB; the log of transactions does not."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = fleet.ground.home / f"disk-{fleet.tag}"
    folder.mkdir()
    account = unprivileged_account()
    options = f"size=64m,mode=0755,uid={account.uid},gid={account.gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    fleet.ground.home.chmod(0o711)
    space = f"space_{fleet.tag}"
    (folder / space).mkdir()
    os.chown(folder / space, account.uid, account.gid)
    execute(fleet.ground.admin_url, f"CREATE TABLESPACE {space} LOCATION '{folder / space}'")
    fleet.engine.dispose()
    execute(fleet.ground.admin_url, f"ALTER DATABASE {fleet.database} SET TABLESPACE {space}")
    yield folder
    fill(folder, full=False)
    execute(fleet.ground.admin_url, f"DROP DATABASE {fleet.database} WITH (FORCE)")
    execute(fleet.ground.admin_url, f"DROP TABLESPACE {space}")
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, *, full: bool) -> None:
    ballast = folder / "ballast"
    if not full:
        ballast.unlink(missing_ok=True)
        return
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.parametrize("times", [pytest.param(TIMES, marks=LONG)])
@pytest.mark.timeout(1200)
def test_a_full_disk_of_postgres_loses_and_doubles_nothing(fleet: Fleet, disk: Path, times: int) -> None:
    fleet.configure_stub(latency_s=0.5, answer_tokens=200)
    fleet.load(300 * times)
    fleet.start()
    for _ in range(times):
        fleet.working()
        fleet.fault()
        said = fleet.log.stat().st_size
        fill(disk, full=True)
        fleet.eventually(lambda said=said: "No space left on device" in fleet.log.read_text()[said:])
        threading.Event().wait(LEASE_TTL_S / 2)
        fill(disk, full=False)
        fleet.mended()
    fleet.configure_stub(latency_s=0.0)
    fleet.finish()
    fleet.verdict("Postgres' disk full", explained=False)
