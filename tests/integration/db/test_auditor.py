"""The auditor's role, held against a real Postgres by taking it on."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from persyn.db import auditor, migrate, views
from persyn.errors import ConfigError, SchemaError, ServiceError


@pytest.fixture
def role(engine: Engine) -> Iterator[str]:
    name = f"auditor_{uuid.uuid4().hex[:12]}"
    yield name
    with engine.begin() as conn:
        if conn.execute(text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"), {"role": name}).scalar():
            conn.execute(text(f"DROP OWNED BY {name}"))
            conn.execute(text(f"DROP ROLE {name}"))


def test_an_auditor_reads_every_view(engine: Engine, role: str) -> None:
    with engine.begin() as conn:
        assert auditor.grant(conn, role)
        conn.execute(text(f"SET LOCAL ROLE {role}"))
        for view in views.all_views():
            conn.execute(text(f"SELECT * FROM audit.{view.name} LIMIT 1"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM job",
        "SELECT messages FROM prompt",
        "UPDATE job SET state = 'ready'",
        "INSERT INTO lease (worker, host, queue, expires_at, deadline_at) VALUES ('w', 'h', 'q', now(), now())",
        "DROP VIEW audit.failures",
    ],
)
def test_an_auditor_reaches_nothing_else(engine: Engine, role: str, statement: str) -> None:
    with engine.begin() as conn:
        auditor.grant(conn, role)
    with engine.connect() as conn:
        conn.execute(text(f"SET LOCAL ROLE {role}"))
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            conn.execute(text(statement))


def test_views_of_a_later_version_are_readable_too(engine: Engine, role: str) -> None:
    with engine.begin() as conn:
        auditor.grant(conn, role)
        conn.execute(text("CREATE VIEW audit.later AS SELECT 1 AS one"))
        conn.execute(text(f"SET LOCAL ROLE {role}"))
        assert conn.execute(text("SELECT one FROM audit.later")).scalar_one() == 1


def test_an_auditor_reads_the_views_that_an_upgrade_makes_anew(engine: Engine, role: str) -> None:
    with engine.begin() as conn:
        auditor.grant(conn, role)
    migrate.upgrade(engine)
    with engine.begin() as conn:
        conn.execute(text(f"SET LOCAL ROLE {role}"))
        for view in views.all_views():
            conn.execute(text(f"SELECT * FROM audit.{view.name} LIMIT 1"))


def test_who_may_read_one_view_may_read_that_one_after_an_upgrade(engine: Engine, role: str) -> None:
    with engine.begin() as conn:
        for statement in (f"CREATE ROLE {role}", f"GRANT USAGE ON SCHEMA audit TO {role}"):
            conn.execute(text(statement))
        conn.execute(text(f"GRANT SELECT ON audit.cost TO {role}"))
    migrate.upgrade(engine)
    with engine.connect() as conn:
        may = text("SELECT has_table_privilege(:role, :view, 'SELECT')")
        names = [view.name for view in views.all_views()]
        readable = [name for name in names if conn.execute(may, {"role": role, "view": f"audit.{name}"}).scalar()]
    assert readable == ["cost"]


def test_an_auditors_address_given_to_a_command_is_told_as_that(
    engine: Engine, role: str, as_role: Callable[[Engine, str], Engine]
) -> None:
    with engine.begin() as conn:
        auditor.grant(conn, role)
    with pytest.raises(SchemaError, match=r"may not read PerSyn's tables, as an auditor's may not"):
        migrate.require_current(as_role(engine, role))


def test_a_role_that_may_make_no_roles_is_told_who_may(
    engine: Engine, stranger: str, as_role: Callable[[Engine, str], Engine]
) -> None:
    with (
        as_role(engine, stranger).begin() as conn,
        pytest.raises(ServiceError, match=r"may not make the auditor persyn_auditor: permission denied .* superuser"),
    ):
        auditor.grant(conn, "persyn_auditor")


def test_granting_twice_changes_nothing(engine: Engine, role: str) -> None:
    with engine.begin() as conn:
        assert auditor.grant(conn, role)
        assert not auditor.grant(conn, role)


@pytest.mark.parametrize("name", ["", "Auditor", 'a"; DROP TABLE job; --', "a b", "1a", "x" * 64])
def test_a_name_that_needs_quoting_is_refused(engine: Engine, name: str) -> None:
    with engine.begin() as conn, pytest.raises(ConfigError, match="no plain role name"):
        auditor.grant(conn, name)
