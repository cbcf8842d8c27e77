"""A database that an earlier version made and filled, brought to this version."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from persyn import jobs
from persyn.db import migrate, views
from persyn.jobs import pauses
from persyn.states import Stage

DUMP = Path(__file__).with_name("database_0006.sql")


@pytest.fixture
def role(engine: Engine) -> Iterator[str]:
    name = f"auditor_{uuid.uuid4().hex[:12]}"
    with engine.begin() as conn:
        conn.execute(text(f"CREATE ROLE {name}"))
    yield name
    with engine.begin() as conn:
        conn.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
def old(role: str, empty: Engine) -> Engine:
    """The old database, which goes before its auditor's role does."""
    url = empty.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as conn:
        conn.execute(DUMP.read_text(encoding="utf-8").replace("the_auditor", role).encode())
    return empty


def one(conn: Connection, statement: str) -> object:
    return conn.execute(text(statement)).scalar_one()


def seen_in(engine: Engine) -> dict[str, int]:
    """How many rows each view shows that the database has."""
    with engine.connect() as conn:
        names = conn.execute(text("SELECT viewname FROM pg_views WHERE schemaname = 'audit'")).scalars().all()
        return {name: int(str(one(conn, f"SELECT count(*) FROM audit.{name}"))) for name in names}


def violations(conn: Connection) -> list[str]:
    return list(conn.execute(text("SELECT invariant FROM audit.integrity WHERE violations <> 0")).scalars())


def test_an_upgraded_database_is_this_versions_and_whole(old: Engine) -> None:
    before = seen_in(old)
    migrate.upgrade_if_needed(old)
    migrate.require_current(old)
    assert migrate.differences(old) == []
    after = seen_in(old)
    assert after.keys() == {view.name for view in views.all_views()}
    del before["integrity"]  # one row for each invariant that there is
    assert before.items() <= after.items()
    # Nobody asked for second opinions then, and the old version trained no student.
    assert {name for name, rows in after.items() if not rows} == {"opinion", "student_model"}
    with old.connect() as conn:
        assert violations(conn) == []
        assert {count.stage for count in jobs.counts(conn)} == set(Stage) - {Stage.REROUTE, Stage.TRAIN_STUDENT}


def test_its_auditor_reads_every_view_and_nothing_else(old: Engine, role: str) -> None:
    migrate.upgrade(old)
    with old.connect() as conn:
        conn.execute(text(f"SET ROLE {role}"))
        for view in views.all_views():
            conn.execute(text(f"SELECT * FROM audit.{view.name} LIMIT 1"))
        with pytest.raises(Exception, match="permission denied"):
            conn.execute(text("SELECT * FROM job"))


def test_its_jobs_are_claimed_and_its_lost_ones_come_back(old: Engine) -> None:
    migrate.upgrade(old)
    with old.begin() as conn:
        assert jobs.reap(conn) == 1
        pauses.resume_queue(conn, "score.quality")
        ready = int(str(one(conn, "SELECT count(*) FROM job WHERE state = 'ready'")))
        conn.execute(text("UPDATE job SET not_before = '2000-01-01' WHERE state = 'ready'"))
        claimed = 0
        for queue in jobs.waiting(conn):
            lease_id = jobs.open_lease(conn, worker="w", host="h", queue=queue)
            while claims := jobs.claim(conn, lease_id, queue, 4):
                claimed += len(claims)
                jobs.complete(conn, lease_id, [claim.id for claim in claims])
        assert claimed == ready > 5
        assert "the_counts_of_jobs_are_right" not in violations(conn)


def test_back_and_forth_loses_nothing(old: Engine) -> None:
    migrate.upgrade(old)
    migrate.downgrade(old, "0006")
    with old.connect() as conn:
        assert (
            one(conn, "SELECT count(DISTINCT priority) FROM job") == len(Stage) - 2
        )  # none was rerouted, and no student trained
    migrate.upgrade(old)
    assert migrate.differences(old) == []
    with old.connect() as conn:
        assert violations(conn) == []
