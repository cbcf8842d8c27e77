"""A dump taken while jobs are leased, restored into a fresh cluster: what docs/deploying.md promises of a backup."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs, services
from persyn.config import Settings
from persyn.db import auditor, migrate, session
from persyn.services import postgres
from persyn.services.embedded import locked


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


@pytest.fixture
def fresh_cluster() -> Iterator[Engine]:
    """An empty database on another server, where none of this one's roles exist."""
    folder = Path(tempfile.mkdtemp(prefix="persyn-test-", dir="/tmp"))
    settings = Settings(folder / "home", None, None)
    with locked(settings.home):
        postgres.start(settings.home)
    engine = session.connect(postgres.url(settings.home))
    yield engine
    engine.dispose()
    services.stop(settings)
    shutil.rmtree(folder)


def test_a_backup_restored_into_a_fresh_cluster_is_whole_and_goes_on(
    world: Any, stranger: str, fresh_cluster: Engine, tmp_path: Path
) -> None:
    lease_id, ids = world.leased(4)
    with world.engine.begin() as conn:
        world.answer(conn, lease_id, ids[:2])
        auditor.grant(conn, stranger)  # a role that the other server does not know
    dump = tmp_path / "persyn.dump"
    subprocess.run(
        [_program("pg_dump"), "--format=custom", f"--file={dump}", _libpq(world.engine)], check=True, timeout=60
    )
    with world.engine.begin() as conn:
        conn.execute(text(f"DROP OWNED BY {stranger}"))
    restore = [_program("pg_restore"), "--no-owner", "--no-privileges", f"--dbname={_libpq(fresh_cluster)}", str(dump)]
    subprocess.run(restore, check=True, timeout=60)

    migrate.require_current(fresh_cluster)
    assert migrate.differences(fresh_cluster) == []
    with fresh_cluster.begin() as conn:
        conn.execute(text("UPDATE lease SET expires_at = '2000-01-01'"))  # its worker never knew this database
        assert jobs.reap(conn) == 2
        lease = jobs.open_lease(conn, worker="w", host="h", queue=world.queue)
        claims = jobs.claim(conn, lease, world.queue, 10)
        assert [claim.id for claim in claims] == ids[2:]
        world.answer(conn, lease, ids[2:])
        assert auditor.grant(conn, "persyn_auditor")
    with fresh_cluster.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM generation")).scalar_one() == 4
        broken = conn.execute(text("SELECT invariant FROM audit.integrity WHERE violations <> 0")).all()
    assert broken == []
