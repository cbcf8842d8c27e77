"""The `audit` schema: one SQL file a view, under `audit/`, with the question it answers as header.

Views stand outside the metadata: Alembic would take them for tables. A migration freezes its own copy of each;
`differences` holds what the database has against the files.
"""

from importlib.resources import files
from typing import NamedTuple

from sqlalchemy import Connection, text


class View(NamedTuple):
    name: str
    body: str


def all_views() -> list[View]:
    folder = files("persyn.db").joinpath("audit")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return [
        View(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")) for entry in sorted(found, key=str)
    ]


def differences(connection: Connection) -> list[str]:
    """Names the views that are missing, unknown, or defined otherwise than in their files."""
    existing = {
        row.viewname: row.definition
        for row in connection.execute(
            text("SELECT viewname, definition FROM pg_views WHERE schemaname = 'audit' ORDER BY viewname")
        )
    }
    expected = {view.name: view for view in all_views()}
    problems = [f"view audit.{name}: missing" for name in sorted(expected.keys() - existing.keys())]
    problems += [f"view audit.{name}: has no file" for name in sorted(existing.keys() - expected.keys())]
    for name in sorted(expected.keys() & existing.keys()):
        if _definition(connection, expected[name]) != existing[name]:
            problems.append(f"view audit.{name}: differs from its file")
    return problems


def _definition(connection: Connection, view: View) -> str:
    """How Postgres itself prints the file's query, so that formatting does not count as a difference."""
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY VIEW persyn_view_check AS {view.body}")
        return str(
            connection.execute(text("SELECT pg_get_viewdef('pg_temp.persyn_view_check'::regclass)")).scalar_one()
        )
    finally:
        savepoint.rollback()
