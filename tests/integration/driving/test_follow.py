"""Following a run must outlive the broker, which only wake-ups need, and an absence of Postgres."""

import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from persyn import runs
from persyn.cli.screen import Lines
from persyn.config import parse_run
from persyn.db import session
from persyn.driving.follow import follow
from persyn.services import Endpoints
from persyn.states import Stage


def calibrating_run(engine: Engine) -> int:
    teachers = [{"name": name, "family": "f", "params_b": 1, "model": "m"} for name in ("a", "b")]
    raw = {"name": "r", "prompts": "set", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO prompt_set (name) VALUES ('set')"))
        conn.execute(
            text("""
            INSERT INTO prompt (prompt_set_id, position, sha256, messages, reference_answer)
            SELECT s.id, n, md5(n::text), '[]', '1' FROM prompt_set s, generate_series(1, 4) n
            """)
        )
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, Stage.CALIBRATE)
    return run_id


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_following_goes_on_without_a_broker_until_the_jobs_are_final(engine: Engine, tmp_path: Path) -> None:
    run_id = calibrating_run(engine)
    address = f"redis://127.0.0.1:{closed_port()}/0"
    follower = threading.Thread(target=follow, args=(engine, address, run_id, None, tmp_path, Lines()), daemon=True)
    follower.start()
    while follower.is_alive() and not _ready(engine):
        follower.join(0.1)
    follower.join(3.0)  # some rounds with work to wake somebody for
    assert follower.is_alive()
    runs.cancel(engine, run_id, by="test")
    follower.join(60.0)
    assert not follower.is_alive()


class Gate:
    """Shuts a database as an outage does: all connections end, and new ones are refused."""

    def __init__(self, endpoints: Endpoints, engine: Engine) -> None:
        self._admin = session.connect(endpoints.database_url)
        self._name = engine.url.database

    def shut(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS false")
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def open(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS true")

    def close(self) -> None:
        self._admin.dispose()

    def _execute(self, statement: str) -> None:
        with self._admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(text(statement))


def test_following_outlives_an_absence_of_postgres(
    engine: Engine, endpoints: Endpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = calibrating_run(engine)
    arguments = (engine, endpoints.broker_url, run_id, None, tmp_path, Lines())
    follower = threading.Thread(target=follow, args=arguments, daemon=True)
    gate, said = Gate(endpoints, engine), ""

    def until(words: str) -> None:
        nonlocal said
        while follower.is_alive() and words not in said:
            follower.join(0.1)
            said += capsys.readouterr().err
        assert words in said

    follower.start()
    until("8 jobs wait, and no worker runs")
    gate.shut()
    until("Postgres is away since")
    gate.open()
    until("Postgres is back.")
    runs.cancel(engine, run_id, by="test")
    follower.join(60.0)
    assert not follower.is_alive()
    assert "Traceback" not in said
    assert "\x1b" not in said
    gate.close()


def _ready(engine: Engine) -> list[int]:
    with engine.connect() as conn:
        return [row.id for row in conn.execute(text("SELECT id FROM job WHERE state = 'ready'"))]
