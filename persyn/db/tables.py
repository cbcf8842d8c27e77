"""Finds what separates a database's tables from the models, down to CHECK constraints and predicates of indexes.

Postgres prints both, the models' as temporary tables that are rolled back. So two ways of writing the same rule are no
difference, and a role needs no more rights than to make temporary tables.
"""

from sqlalchemy import Connection, text

from persyn.db.models import Base

_PARTS = text("""
WITH own AS (
    SELECT oid, relname, reloptions FROM pg_class
    WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p') AND relname <> 'alembic_version'
)
SELECT 'table ' || relname AS name, coalesce(array_to_string(reloptions, ', '), '') AS definition
FROM own
UNION ALL
SELECT 'column ' || relname || '.' || attname,
       concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                 'DEFAULT ' || pg_get_expr(adbin, adrelid),
                 CASE attidentity WHEN 'a' THEN 'ALWAYS AS IDENTITY' WHEN 'd' THEN 'BY DEFAULT AS IDENTITY' END)
FROM own
JOIN pg_attribute ON attrelid = own.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
UNION ALL
SELECT 'constraint ' || conname || ' of ' || relname, pg_get_constraintdef(c.oid)
FROM own
JOIN pg_constraint c ON conrelid = own.oid AND contype <> 'n'
UNION ALL
SELECT 'index ' || i.relname || ' of ' || own.relname,
       regexp_replace(pg_get_indexdef(indexrelid), ' ON [^ ]+ ', ' ON ' || own.relname || ' ')
           || CASE WHEN indisvalid THEN '' ELSE ', left unfinished' END
FROM own
JOIN pg_index x ON indrelid = own.oid
JOIN pg_class i ON i.oid = indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = own.oid)
""")


def differences(connection: Connection) -> list[str]:
    """A line for each part that is missing, unknown, or other than the models say."""
    actual = _parts(connection)
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("SET LOCAL search_path = pg_temp"))
        Base.metadata.create_all(connection, checkfirst=False)
        expected = _parts(connection)
    finally:
        savepoint.rollback()
    return [
        f"{name}: {_difference(actual.get(name), expected.get(name))}"
        for name in sorted(actual.keys() | expected.keys())
        if actual.get(name) != expected.get(name)
    ]


def _parts(connection: Connection) -> dict[str, str]:
    """Name → definition of each table in the current schema, and of each column, constraint and index."""
    return {row.name: row.definition for row in connection.execute(_PARTS)}


def _difference(actual: str | None, expected: str | None) -> str:
    if actual is None:
        return "missing"
    return "no model has it" if expected is None else f"is {actual or 'plain'}, the models say {expected or 'plain'}"
