"""The `audit` schema: one SQL file a view, under `audit/`, with the question it answers as header.

Views hold no data, so no migration knows them: `rebuilt` drops them, lets the tables change, and makes them anew from
the files. The schema's comment keeps a fingerprint of the files and the views' names, so that a start sees in one look
whether the database has this version's views, and an upgrade tells PerSyn's views from those that others put there.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import NamedTuple

from sqlalchemy import Connection, text

_COMMENT = "SELECT obj_description(to_regnamespace('audit'), 'pg_namespace')"
_EXISTING = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'audit' ORDER BY viewname"
# What others may do with a view, as the statements that allow it again.
_GRANTS = """
SELECT relname, format('GRANT %s ON audit.%I TO %s%s', privilege_type, relname,
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE CAST(CAST(grantee AS regrole) AS text) END,
                       CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END) AS again
FROM pg_class, aclexplode(relacl)
WHERE relnamespace = to_regnamespace('audit') AND relkind = 'v' AND grantee <> relowner
"""


class View(NamedTuple):
    name: str
    body: str


def all_views() -> list[View]:
    """Each after those that it reads."""
    folder = files("persyn.db").joinpath("audit")
    entries = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    bodies = {entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8") for entry in sorted(entries, key=str)}
    reads = {name: sorted(set(re.findall(r"\baudit\.(\w+)", body))) for name, body in bodies.items()}
    return [View(name, bodies[name]) for name in TopologicalSorter(reads).static_order()]


@contextmanager
def rebuilt(connection: Connection) -> Iterator[None]:
    """Drop the views, and at the end make this version's, open to the same roles; all in the caller's transaction."""
    grants = connection.execute(text(_GRANTS)).all()
    drop(connection)
    yield
    names = _create(connection)
    for grant in grants:
        if grant.relname in names:
            connection.exec_driver_sql(grant.again)


def drop(connection: Connection) -> None:
    """Drop PerSyn's views and no other's: Postgres refuses where another's stands on one of them."""
    known = {view.name for view in all_views()} | {*_comment(connection).partition(": ")[2].split(", ")}
    ours = [f"audit.{row.viewname}" for row in connection.execute(text(_EXISTING)) if row.viewname in known]
    if ours:
        connection.exec_driver_sql(f"DROP VIEW {', '.join(ours)}")


def _create(connection: Connection) -> set[str]:
    views = all_views()
    connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS audit")
    for view in views:
        connection.exec_driver_sql(f"CREATE VIEW audit.{view.name} AS {view.body}")
    connection.exec_driver_sql(f"COMMENT ON SCHEMA audit IS '{_expected_comment(views)}'")
    return {view.name for view in views}


def are_current(connection: Connection) -> bool:
    """Whether this version's files made the views. `differences` finds what was changed by hand since then."""
    return _comment(connection) == _expected_comment(all_views())


def _comment(connection: Connection) -> str:
    return connection.execute(text(_COMMENT)).scalar_one() or ""


def _expected_comment(views: list[View]) -> str:
    views = sorted(views)
    fingerprint = hashlib.sha256(repr(views).encode()).hexdigest()
    return f"Views that PerSyn made from the files {fingerprint[:16]}: {', '.join(view.name for view in views)}"


def differences(connection: Connection) -> list[str]:
    """Names the views that are missing, unknown, or defined otherwise than in their files."""
    existing = {row.viewname: row.definition for row in connection.execute(text(_EXISTING))}
    expected = {view.name: view for view in all_views()}
    problems = [f"view audit.{name}: missing" for name in sorted(expected.keys() - existing.keys())]
    problems += [f"view audit.{name}: has no file" for name in sorted(existing.keys() - expected.keys())]
    for name in sorted(expected.keys() & existing.keys()):
        if _definition(connection, expected[name]) != existing[name]:
            problems.append(f"view audit.{name}: differs from its file")
    if not are_current(connection):
        problems.append("schema audit: its comment names other files than this version's")
    return problems


def _definition(connection: Connection, view: View) -> str:
    """The file's query as Postgres itself prints it, so that formatting does not count as a difference."""
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY VIEW persyn_view_check AS {view.body}")
        return str(
            connection.execute(text("SELECT pg_get_viewdef('pg_temp.persyn_view_check'::regclass)")).scalar_one()
        )
    finally:
        savepoint.rollback()
