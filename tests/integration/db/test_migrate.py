"""Migrations up, down and side by side, and what `differences` sees of a database that someone changed."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import URL, make_url

from persyn import services
from persyn.db import migrate, session
from persyn.db.models import Base
from persyn.errors import SchemaError, ServiceError

if TYPE_CHECKING:
    from tests.integration.conftest import World

ROOT = Path(__file__).resolve().parents[3]
UPGRADE = "import sys; from persyn.db import migrate, session; migrate.upgrade(session.connect(sys.argv[1]))"

# What the models and the migrations must agree on though Alembic's autogenerate compares neither.
RULES = """
SELECT conrelid::regclass || ': ' || conname || ' ' || pg_get_constraintdef(oid) AS rule
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT relname || ' ' || array_to_string(reloptions, ',')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
ORDER BY 1
"""


@pytest.fixture
def empty(endpoints: services.Endpoints) -> Iterator[Engine]:
    """A database without a schema."""
    server = make_url(endpoints.database_url)
    admin = session.connect(server.render_as_string(hide_password=False))
    name = f"persyn_empty_{uuid.uuid4().hex[:12]}"
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
        engine = session.connect(_url(server.set(database=name)))
        yield engine
        engine.dispose()
        conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def _url(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def relations(engine: Engine) -> list[str]:
    statement = """
        SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'v') ORDER BY 1
    """
    with engine.connect() as conn:
        return list(conn.execute(text(statement)).scalars())


def rules(engine: Engine) -> list[str]:
    with engine.connect() as conn:
        return [rule for rule in conn.execute(text(RULES)).scalars() if "alembic_version" not in rule]


def change(engine: Engine, *statements: str) -> None:
    with engine.begin() as conn:
        for statement in statements:
            conn.execute(text(statement))


def test_upgrading_makes_what_the_models_say_and_downgrading_leaves_nothing(empty: Engine) -> None:
    migrate.upgrade(empty)
    assert migrate.differences(empty) == []
    made = relations(empty)
    migrate.downgrade(empty, "base")
    assert relations(empty) == ["alembic_version"]
    migrate.upgrade(empty)
    assert relations(empty) == made
    assert migrate.differences(empty) == []


def test_the_migrations_carry_every_rule_of_the_models(engine: Engine, empty: Engine) -> None:
    Base.metadata.create_all(empty)
    assert rules(engine) == rules(empty)


def test_upgrading_again_changes_nothing_and_leaves_no_timeout_behind(engine: Engine) -> None:
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []
    with engine.connect() as conn:
        timeouts = conn.execute(text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"))
        assert tuple(timeouts.one()) == ("0", "0")
        locks = conn.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        assert locks.scalar_one() == 0


def test_two_upgrades_at_once_both_succeed(empty: Engine) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", UPGRADE, _url(empty.url)]
    migrators = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    assert [migrator.communicate()[1] for migrator in migrators] == [b"", b""]
    assert [migrator.returncode for migrator in migrators] == [0, 0]
    assert migrate.differences(empty) == []


def test_a_migrator_sets_its_time_limits_only_once_it_is_its_turn(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    migrate.upgrade(engine)
    kinds = [kind for sent in statements for kind in ("pg_advisory_lock", "SET lock_timeout") if kind in sent]
    assert kinds[:2] == ["pg_advisory_lock", "SET lock_timeout"]


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DROP VIEW audit.cost"], "view audit.cost: missing"),
        (["CREATE VIEW audit.extra AS SELECT 1 AS one"], "view audit.extra: has no file"),
        (
            ["DROP VIEW audit.cost", "CREATE VIEW audit.cost AS SELECT id AS run_id FROM run"],
            "view audit.cost: differs from its file",
        ),
        (["ALTER TABLE job ADD COLUMN colour text"], "colour"),
        (["ALTER TABLE job ALTER COLUMN queue DROP NOT NULL"], "modify_nullable"),
        (["ALTER TABLE prompt ALTER COLUMN reference_answer TYPE varchar(9)"], "modify_type"),
        (["ALTER TABLE job ALTER COLUMN attempt SET DEFAULT 1"], "modify_default"),
        (["DROP INDEX ix_job_ready"], "ix_job_ready"),
        (["CREATE TABLE stray (id bigint)"], "stray"),
    ],
)
def test_a_change_by_hand_is_told(engine: Engine, statements: list[str], told: str) -> None:
    if "reference_answer" in statements[0]:
        statements = ["DROP SCHEMA audit CASCADE", *statements]
    change(engine, *statements)
    assert [problem for problem in migrate.differences(engine) if told in problem]


def test_looking_for_differences_changes_nothing(engine: Engine) -> None:
    before = relations(engine)
    migrate.differences(engine)
    assert relations(engine) == before


def test_a_database_at_the_newest_migration_is_current(engine: Engine) -> None:
    migrate.require_current(engine)


def test_an_empty_database_is_refused_and_then_upgraded_if_needed(empty: Engine) -> None:
    with pytest.raises(SchemaError, match=r"at nothing, this version needs \d+\. Run `persyn db upgrade`"):
        migrate.require_current(empty)
    migrate.upgrade_if_needed(empty)
    migrate.require_current(empty)


def test_a_downgrade_writes_the_events_that_older_views_look_for(world: "World") -> None:
    _, (first, _) = world.leased(2)
    migrate.downgrade(world.engine, "0005")
    assert world.violations() == {}
    migrate.upgrade(world.engine)
    assert world.violations() == {}
    assert world.history(first) == ["enqueued", "claimed"]


def test_an_older_database_is_refused(engine: Engine) -> None:
    migrate.downgrade(engine, "0001")
    with pytest.raises(SchemaError, match="at 0001, this version needs"):
        migrate.require_current(engine)


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(engine: Engine) -> None:
    change(engine, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="at 9999"):
        migrate.require_current(engine)
    with pytest.raises(SchemaError, match="newer version of PerSyn"):
        migrate.upgrade_if_needed(engine)


@pytest.mark.parametrize("act", [migrate.upgrade, migrate.differences, migrate.require_current])
def test_a_database_out_of_reach_is_told_in_a_sentence(act: Callable[[Engine], object], tmp_path: Path) -> None:
    nowhere = session.connect(f"postgresql:///nothing?host={tmp_path}")
    with pytest.raises(ServiceError, match=r"Postgres cannot be reached: .+\. Check PERSYN_DATABASE_URL\."):
        act(nowhere)
