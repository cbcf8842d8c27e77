"""PerSyn's own sessions on a server whose defaults are others, and behind a pooler that gives each transaction another.

What the protocol does in them is the whole life of a job: enqueued, claimed, stored, lost, reaped, done again.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from persyn import jobs
from persyn.db import migrate, session
from persyn.services.embedded import open_path, unprivileged_account

HOSTILE = {
    "jit": "on",
    "DateStyle": "'German, DMY'",
    "TimeZone": "'Pacific/Chatham'",
    "default_transaction_isolation": "'repeatable read'",
    "statement_timeout": "'300ms'",
    "lock_timeout": "'1ms'",
}
EXPECTED = session.SETTINGS | {"DateStyle": "ISO, DMY", "transaction_isolation": "read committed"}
CLIENTS = 4
JOBS = 60


@pytest.fixture
def hostile(engine: Engine) -> Engine:
    """This test's database, in which every new session begins with settings that do not suit the protocol."""
    with engine.begin() as conn:
        name = conn.execute(text("SELECT current_database()")).scalar_one()
        for setting, value in HOSTILE.items():
            conn.execute(text(f"ALTER DATABASE {name} SET {setting} = {value}"))
    engine.dispose()
    return engine


@pytest.fixture
def pooled(hostile: Engine, database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """The hostile database behind pgbouncer in transaction mode, with fewer sessions than its clients."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed here")
    address = session.parts(database_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    target = " ".join(
        f"{name}={value}" for name, value in address.items() if name in ("host", "port", "user", "dbname")
    )
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    account = unprivileged_account()  # it does not run as root either
    (folder / "users.txt").write_text(f'"{address.get("user", "")}" "{address.get("password", "")}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npooled = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users.txt\npool_mode = transaction\n"
        f"default_pool_size = {CLIENTS - 1}\n"
    )
    open_path(folder / "log", account)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")], stdout=log, stderr=log, user=account.uid, group=account.gid,
            extra_groups=[] if os.geteuid() == 0 else None,
        )  # fmt: skip
    _wait_for(port, process, folder / "log")
    engine = session.connect(f"postgresql://{address.get('user', '')}@127.0.0.1:{port}/pooled")
    yield engine
    engine.dispose()
    process.terminate()
    process.wait(timeout=30)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"pgbouncer does not listen: {log.read_text()}")


def shown(engine: Engine) -> dict[str, str]:
    with engine.connect() as conn:
        return {name: str(conn.execute(text(f"SHOW {name}")).scalar_one()) for name in EXPECTED}


def test_a_session_has_what_the_protocol_counts_on_whatever_the_database_says(hostile: Engine) -> None:
    assert shown(hostile) == EXPECTED


def test_a_job_lives_its_whole_life_on_a_hostile_database(hostile: Engine, build: Callable[..., Any]) -> None:
    with hostile.begin() as conn:
        world = build(hostile, conn)
    _live(world)
    with hostile.connect() as conn:
        conn.execute(text("SELECT pg_sleep(0.4)"))  # longer than the database allows
        created = conn.execute(text("SELECT created_at FROM job LIMIT 1")).scalar_one()
    assert created.tzinfo is not None
    assert created.utcoffset() == UTC.utcoffset(None)


def _live(world: Any) -> None:
    lost, ids = world.leased(4)
    with world.engine.begin() as conn:
        world.answer(conn, lost, ids[:2])
    world.expire(lost)
    assert world.reap() == 2
    with world.engine.begin() as conn:
        lease = world.lease(conn)
        claimed = [claim.id for claim in jobs.claim(conn, lease, world.queue, 10)]
        assert claimed == ids[2:]
        world.answer(conn, lease, claimed)
    assert world.scalar("SELECT count(*) FROM generation") == 4
    assert world.violations() == {}


def test_a_migration_and_its_check_work_on_a_hostile_database(hostile: Engine) -> None:
    migrate.downgrade(hostile, "base")
    migrate.upgrade(hostile)
    assert migrate.differences(hostile) == []


def test_a_transaction_behind_a_pooler_has_what_the_protocol_counts_on(pooled: Engine) -> None:
    assert shown(pooled) == EXPECTED
    migrate.upgrade(pooled)
    assert migrate.differences(pooled) == []


def test_clients_that_share_sessions_behind_a_pooler_do_each_job_once(
    pooled: Engine, build: Callable[..., Any]
) -> None:
    with pooled.begin() as conn:
        world = build(pooled, conn)
        world.prompts += [world._prompt(conn, position) for position in range(6, JOBS)]
    world.fill(JOBS)
    failed: list[BaseException] = []
    clients = [threading.Thread(target=_work, args=(world, failed)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert failed == []
    assert world.scalar("SELECT count(*) FROM job WHERE state = 'done' AND attempt = 1") == JOBS
    assert world.violations() == {}


def _work(world: Any, failed: list[BaseException]) -> None:
    """Claim and store one job at a time until none is left, over connections of this client's own."""
    engine = session.connect(world.engine.url.render_as_string(hide_password=False))
    try:
        with engine.begin() as conn:
            lease = world.lease(conn)
        while True:
            with engine.begin() as conn:
                claims = jobs.claim(conn, lease, world.queue, 1)
            if not claims:
                return
            with engine.begin() as conn:
                world.answer(conn, lease, [claim.id for claim in claims])
    except BaseException as exc:
        failed.append(exc)
    finally:
        engine.dispose()


def test_a_server_that_takes_no_writes_is_away_and_nothing_else_is_to_blame(engine: Engine) -> None:
    """A replica that is not promoted yet; a job that it keeps from being stored must not pay for that."""
    with engine.connect() as conn:
        conn.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(session.DatabaseError) as caught:
            conn.execute(text("INSERT INTO prompt_set (name) VALUES ('new')"))
    assert session.is_away(caught.value)
    assert session.takes_no_writes(caught.value)
    assert session.takes_no_writes(caught.value.orig)
