"""Postgres, the only truth: restarted without warning, backends shot, cut in the midst of a COMMIT, away, silent."""

import os
import random
import signal
import threading

import pytest
from fleet import DONE, Fleet, stopped_postgres
from proxy import CLAIM, COMPLETION
from start import LEASE_TTL_S

BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
LONG = pytest.mark.chaos_long


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=LONG)])
def test_an_immediate_restart_takes_back_nothing_that_was_stored(fleet: Fleet, times: int) -> None:
    fleet.load(200 * times)
    fleet.start()
    for _ in range(times):
        fleet.working()
        stored = set(fleet.rows("SELECT prompt_id, text FROM generation"))
        fleet.fault()
        with stopped_postgres(fleet.ground):
            pass
        fleet.mended()
        assert stored <= set(fleet.rows("SELECT prompt_id, text FROM generation"))
    fleet.finish()
    fleet.verdict("Postgres stopped at once and restarted", explained=False)


@LONG
def test_postgres_down_for_longer_than_the_lease(fleet: Fleet) -> None:
    fleet.load(500)
    fleet.start()
    fleet.start()
    for _ in range(2):
        fleet.working()
        fleet.fault()
        with stopped_postgres(fleet.ground):
            threading.Event().wait(LEASE_TTL_S * 3)
        fleet.mended()
    fleet.finish()
    fleet.verdict("Postgres down for three times the TTL", workers=2, explained=False)


@LONG
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_killed_backends(fleet: Fleet, signum: signal.Signals) -> None:
    """SIGTERM ends one connection; after SIGKILL of one Postgres ends all of them and recovers, as it must."""
    draws = random.Random(1)
    fleet.load(600)
    fleet.start()
    for _ in range(20 if signum == signal.SIGTERM else 4):
        fleet.working()
        backends = [row.pid for row in fleet.rows(BACKENDS + " AND client_addr IS NULL ORDER BY backend_start")]
        fleet.fault()
        if backends:
            os.kill(draws.choice(backends), signum)
    fleet.finish()
    fleet.verdict(f"a backend killed ({signum.name})", explained=signum == signal.SIGTERM)


@pytest.mark.parametrize(("of", "name"), [(COMPLETION, "completion"), pytest.param(CLAIM, "claim", marks=LONG)])
@pytest.mark.parametrize("times", [1, pytest.param(6, marks=LONG)])
def test_a_connection_reset_while_the_server_commits(fleet: Fleet, of: bytes, name: str, times: int) -> None:
    """The worker cannot know whether its transaction stands; it does."""
    fleet.load(100 + 60 * times)
    fleet.start()
    for _ in range(times):
        trap = fleet.postgres.trap(of, "reset")
        fleet.eventually(trap.sprung.is_set)
        fleet.fault()
    fleet.finish()
    fleet.verdict(f"connection reset during COMMIT of a {name}")


@LONG
def test_a_silent_connection_to_postgres(fleet: Fleet) -> None:
    """Nothing is refused and nothing arrives, for longer than a lease."""
    fleet.load(400)
    fleet.start()
    for _ in range(2):
        done = fleet.scalar(DONE)
        fleet.eventually(lambda done=done: fleet.scalar(DONE) > done)
        fleet.fault()
        fleet.postgres.half_open()
        threading.Event().wait(LEASE_TTL_S * 3)
        fleet.postgres.mend()
        fleet.mended()
    fleet.finish()
    fleet.verdict("half-open connection to Postgres for three times the TTL")
