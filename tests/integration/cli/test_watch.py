"""Following a run must outlive the broker: only wake-ups need it."""

import socket
import threading
from pathlib import Path

from sqlalchemy import Engine, text

from persyn import jobs, runs
from persyn.cli import watch
from persyn.config import parse_run
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
    follower = threading.Thread(target=watch.follow, args=(engine, address, run_id, None, tmp_path), daemon=True)
    follower.start()
    while follower.is_alive() and not _ready(engine):
        follower.join(0.1)
    follower.join(3.0)  # some rounds with work to wake somebody for
    assert follower.is_alive()
    with engine.begin() as conn:
        jobs.cancel(conn, _ready(engine))
    follower.join(60.0)
    assert not follower.is_alive()


def _ready(engine: Engine) -> list[int]:
    with engine.connect() as conn:
        return [row.id for row in conn.execute(text("SELECT id FROM job WHERE state = 'ready'"))]
