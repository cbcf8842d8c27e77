"""A dump taken while jobs are leased, restored empty: what docs/deploying.md promises of a backup."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs
from persyn.config import Settings
from persyn.db import migrate
from persyn.services import postgres


def _program(name: str) -> str:
    """The one that belongs to the server: the embedded Postgres brings its own."""
    if Settings.from_environment().database_url is None:
        return str(postgres.tools_folder() / name)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def _libpq(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_restored_backup_is_whole_and_its_leased_jobs_go_on(world: Any, empty: Engine, tmp_path: Path) -> None:
    lease_id, ids = world.leased(4)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids[:2])
    dump = tmp_path / "persyn.dump"
    subprocess.run(
        [_program("pg_dump"), "--format=custom", f"--file={dump}", _libpq(world.engine)], check=True, timeout=60
    )
    subprocess.run([_program("pg_restore"), f"--dbname={_libpq(empty)}", str(dump)], check=True, timeout=60)

    assert migrate.differences(empty) == []
    with empty.begin() as conn:
        conn.execute(text("UPDATE lease SET expires_at = '2000-01-01'"))  # its worker never knew this database
        assert jobs.reap(conn) == 2
        lease = jobs.open_lease(conn, worker="w", host="h", queue=world.queue)
        claims = jobs.claim(conn, lease, world.queue, 10)
        assert [claim.id for claim in claims] == ids[2:]
        world.answer(conn, lease, ids[2:])
    with empty.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM generation")).scalar_one() == 4
        broken = conn.execute(text("SELECT invariant FROM audit.integrity WHERE violations <> 0")).all()
    assert broken == []
