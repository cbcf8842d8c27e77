"""A database role that reads the schema `audit` and nothing else.

The views run with their owner's rights, so an auditor needs none on the tables: it can neither change a row nor read a
text that no view shows.
"""

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from persyn.db import session
from persyn.errors import ConfigError, ServiceError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def grant(conn: Connection, role: str) -> bool:
    """Let the role read the audit views, those of later versions included; True if the role was made here.

    A role made here has no password: its owner gives it one with `\\password`. Raises ConfigError for a name that
    would need quoting, ServiceError where the connection's own role may not do this.
    """
    if not _NAME.fullmatch(role):
        raise ConfigError(f"{role!r} is no plain role name. Use small letters, digits and _, as in persyn_auditor.")
    try:
        return _grant(conn, role)
    except ProgrammingError as exc:
        if not session.is_forbidden(exc):
            raise
        raise ServiceError(
            f"The role of PERSYN_DATABASE_URL may not make the auditor {role}: {session.in_one_line(exc)}. Call this"
            " command once with the address of a superuser, or of the database's owner with CREATEROLE."
        ) from exc


def _grant(conn: Connection, role: str) -> bool:
    exists = conn.execute(text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"), {"role": role}).scalar()
    if not exists:
        conn.execute(text(f"CREATE ROLE {role} LOGIN"))
    database = conn.execute(text("SELECT quote_ident(current_database())")).scalar_one()
    for statement in (
        f"GRANT CONNECT ON DATABASE {database} TO {role}",
        f"GRANT USAGE ON SCHEMA audit TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA audit TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA audit GRANT SELECT ON TABLES TO {role}",
        f"ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = on",
        f"ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '5min'",
        f"ALTER ROLE {role} IN DATABASE {database} SET search_path = audit",
    ):
        conn.execute(text(statement))
    return not exists
