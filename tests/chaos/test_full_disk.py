"""Postgres' disk is full: nothing can be stored for a while, and everything is once there is room again."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk import fill, small
from fleet import TIMES, Fleet, execute
from start import LEASE_TTL_S

from persyn.services.embedded import unprivileged_account


@pytest.fixture
def disk(fleet: Fleet) -> Iterator[Path]:
    """The fleet's database lies in a tablespace on a file system of 64 MB; the log of transactions does not."""
    account = unprivileged_account()
    options = f"size=64m,mode=0755,uid={account.uid},gid={account.gid}"
    with small(fleet.ground.home / f"disk-{fleet.tag}", options) as folder:
        fleet.ground.home.chmod(0o711)
        space = f"space_{fleet.tag}"
        (folder / space).mkdir()
        os.chown(folder / space, account.uid, account.gid)
        execute(fleet.ground.admin_url, f"CREATE TABLESPACE {space} LOCATION '{folder / space}'")
        fleet.engine.dispose()
        execute(fleet.ground.admin_url, f"ALTER DATABASE {fleet.database} SET TABLESPACE {space}")
        yield folder
        (folder / "ballast").unlink(missing_ok=True)
        execute(fleet.ground.admin_url, f"DROP DATABASE {fleet.database} WITH (FORCE)")
        execute(fleet.ground.admin_url, f"DROP TABLESPACE {space}")


@pytest.mark.chaos_long
@pytest.mark.timeout(1200)
def test_a_full_disk_of_postgres_loses_and_doubles_nothing(fleet: Fleet, disk: Path) -> None:
    fleet.configure_stub(latency_s=0.5, answer_tokens=200)
    fleet.load(300 * TIMES)
    fleet.start()
    for _ in range(TIMES):
        fleet.working()
        fleet.fault()
        said = fleet.log.stat().st_size
        ballast = fill(disk)
        fleet.eventually(lambda said=said: "No space left on device" in fleet.log.read_text()[said:])
        threading.Event().wait(LEASE_TTL_S / 2)
        ballast.unlink()
        fleet.mended()
    fleet.configure_stub(latency_s=0.0)
    fleet.finish()
    fleet.verdict("Postgres' disk full", explained=False)
