"""Imports prompts: they stream into a staging table and are merged into the set in one statement.

One transaction holds it all: an import that fails, or that `strict` refuses, leaves nothing behind, and importing the
same file again adds nothing. Memory stays flat, because rows go from the file into COPY one by one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine, text

from persyn.config import Name
from persyn.errors import ConfigError
from persyn.imports.prompt_records import Columns, Prompt, canonical, json_text
from persyn.imports.reader import MAX_BYTES, Format
from persyn.imports.rejects import RejectsFile, default_path
from persyn.imports.source_pass import ImportProgress, SourcePass, check_places, publish_rejects, transaction

STAGING = """
CREATE TEMP TABLE prompt_staging (
    number bigint, external_id text, sha256 char(64), messages jsonb, reference_answer text, meta jsonb
) ON COMMIT DROP
"""
COPY = "COPY prompt_staging (number, external_id, sha256, messages, reference_answer, meta) FROM STDIN"
NEW_SET = "INSERT INTO prompt_set (name) VALUES (%s) ON CONFLICT (name) DO NOTHING"
# Imports into one set queue up here, so that they number their prompts one after the other and cannot deadlock.
LOCK_SET = "SELECT id FROM prompt_set WHERE name = %s FOR NO KEY UPDATE"
MERGE = """
INSERT INTO prompt (prompt_set_id, position, external_id, sha256, messages, reference_answer, meta)
SELECT %(set_id)s, last.position + row_number() OVER (ORDER BY s.number),
       s.external_id, s.sha256, s.messages, s.reference_answer, s.meta
FROM prompt_staging s
CROSS JOIN (SELECT coalesce(max(position), -1) AS position FROM prompt WHERE prompt_set_id = %(set_id)s) last
WHERE s.number IN (SELECT min(number) FROM prompt_staging GROUP BY sha256)
  AND NOT EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = %(set_id)s AND p.sha256 = s.sha256)
ORDER BY s.number
ON CONFLICT (prompt_set_id, sha256) DO NOTHING
"""


class PromptImport(NamedTuple):
    """The outcome of an import."""

    read: int  # records, whether good or not
    imported: int
    duplicates: int  # prompts that are in the set or earlier in the sources
    rejected: int
    rejects_path: Path | None  # None where nothing was rejected
    set_id: int | None  # None where nothing good was read and the set did not exist


class PromptSetInfo(NamedTuple):
    id: int
    name: str
    prompts: int
    with_reference_answer: int
    created_at: str  # ISO 8601


def import_prompts(
    engine: Engine,
    set_name: str,
    sources: list[str],
    *,
    columns: Columns = Columns(),
    format: Format | None = None,
    strict: bool = False,
    rejects: Path | None = None,
    max_bytes: int = MAX_BYTES,
    on_progress: Callable[[ImportProgress], None] = lambda progress: None,
) -> PromptImport:
    """Add the prompts of files (or `-`, standard input) to a set, which is created where it does not exist.

    Raises InputError with `strict` when any record is refused, or when a source is damaged; nothing is imported then.
    Raises ConfigError, NotFound, and ServiceError where Postgres goes away.
    """

    def check(values: Any, limit: int | None) -> Iterator[Prompt | str]:
        yield canonical(values, columns, max_bytes=limit)

    rejects_path = rejects or default_path(set_name, sources)
    _check(set_name, sources, rejects_path)
    with RejectsFile(rejects_path) as refused, transaction(engine) as (_, cursor):
        cursor.execute(STAGING)
        reading = SourcePass(sources, format, max_bytes, check, refused, on_progress)
        with cursor.copy(COPY) as copy:
            for number, item in enumerate(reading.items()):
                copy.write_row(_row(number, item.value))
        published = publish_rejects(refused, strict=strict, what=f"of {reading.read} records")
        staged = reading.read - refused.count
        set_id, imported = _merge(cursor, set_name, staged)
    return PromptImport(reading.read, imported, staged - imported, refused.count, published, set_id)


def list_sets(engine: Engine) -> list[PromptSetInfo]:
    """Every prompt set by name, with its size."""
    query = """
        SELECT s.id, s.name, count(p.id), count(p.reference_answer), s.created_at
        FROM prompt_set s LEFT JOIN prompt p ON p.prompt_set_id = s.id
        GROUP BY s.id ORDER BY s.name
    """
    with engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    return [PromptSetInfo(id, name, prompts, answers, at.isoformat()) for id, name, prompts, answers, at in rows]


def _check(set_name: str, sources: list[str], rejects: Path) -> None:
    try:
        TypeAdapter(Name).validate_python(set_name)
    except ValidationError:
        raise ConfigError(
            f"--set {set_name}: expected at most 63 letters, digits and . _ - that begin with a letter or a digit."
        ) from None
    check_places(sources, rejects)


def _row(number: int, prompt: Prompt) -> tuple[int, str | None, str, str, str | None, str]:
    messages, meta = json_text(prompt.messages), json_text(prompt.meta)
    return number, prompt.external_id, prompt.sha256, messages, prompt.reference_answer, meta


def _merge(cursor: psycopg.Cursor[Any], set_name: str, staged: int) -> tuple[int | None, int]:
    """Merge the staged prompts into the set; returns the set's id and the number of new prompts."""
    if staged:
        cursor.execute(NEW_SET, [set_name])
    row = cursor.execute(LOCK_SET, [set_name]).fetchone()
    if row is None or not staged:
        return (row[0] if row else None), 0
    cursor.execute("ANALYZE prompt_staging")  # autovacuum never sees a temporary table
    cursor.execute(MERGE, {"set_id": row[0]})
    return row[0], cursor.rowcount
