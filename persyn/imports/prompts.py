"""Importing prompts: streamed into a staging table, then merged into the set in one statement.

One transaction holds it all: an import that fails, or is refused by `strict`, leaves nothing behind, and importing the
same file again adds nothing. Memory stays flat, because rows go from the file into COPY one by one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from persyn.config import Name
from persyn.errors import ConfigError, InputError, ServiceError
from persyn.imports.prompt_records import Columns, Prompt, canonical, json_text
from persyn.imports.reader import MAX_BYTES, STDIN, Format, Record, Rejected, Source, excerpt, open_source
from persyn.imports.rejects import RejectsFile, default_path

PROGRESS_EVERY = 1000  # records

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


class Progress(NamedTuple):
    read: int  # records so far, over all sources
    share: float | None  # of all sources, 0 to 1; None where a size is not known


class ImportReport(NamedTuple):
    read: int  # records, whether good or not
    imported: int
    duplicates: int  # of a prompt in the set or earlier in the sources
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
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> ImportReport:
    """Add the prompts of files (or `-`, standard input) to a set, which is made where it does not exist.

    Raises InputError with `strict` when any record is refused, or when a source is damaged; nothing is imported then.
    Raises ConfigError, NotFound, and ServiceError where Postgres goes away.
    """
    rejects_path = rejects or default_path(set_name, sources)
    _check(set_name, sources, rejects_path)
    with RejectsFile(rejects_path) as refused, transaction(engine) as (_, cursor):
        cursor.execute(STAGING)
        reading = _Reading(sources, columns, format, max_bytes, refused, on_progress)
        with cursor.copy(COPY) as copy:
            for number, prompt in enumerate(reading.prompts()):
                copy.write_row(_row(number, prompt))
        published = refused.publish()
        if strict and published:
            raise InputError(
                f"{refused.count} of {reading.read} records were refused, so nothing was imported (--strict). "
                f"The reasons are in {published}."
            )
        staged = reading.read - refused.count
        set_id, imported = _merge(cursor, set_name, staged)
    return ImportReport(reading.read, imported, staged - imported, refused.count, published, set_id)


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


@dataclass
class _Reading:
    """One pass over all sources: yields the good prompts, hands on the refused ones, counts both."""

    sources: list[str]
    columns: Columns
    format: Format | None
    max_bytes: int
    refused: RejectsFile
    on_progress: Callable[[Progress], None]
    read: int = 0

    def prompts(self) -> Iterator[Prompt]:
        for index, location in enumerate(self.sources):
            with open_source(location, self.format) as source:
                for record in source.records(self.max_bytes):
                    self.read += 1
                    checked = record if isinstance(record, Rejected) else self._checked(record)
                    if isinstance(checked, Rejected):
                        self.refused.add(source.name, checked)
                    else:
                        yield checked
                    if self.read % PROGRESS_EVERY == 0:
                        self._report(source, index)
        self.on_progress(Progress(self.read, 1.0))

    def _checked(self, record: Record) -> Prompt | Rejected:
        limit = self.max_bytes if record.raw is None else None  # the reader has measured a line already
        prompt = canonical(record.values, self.columns, max_bytes=limit)
        if isinstance(prompt, str):
            return Rejected(record.line, prompt, excerpt(record.values if record.raw is None else record.raw))
        return prompt

    def _report(self, source: Source, index: int) -> None:
        share = source.share()
        self.on_progress(Progress(self.read, None if share is None else (index + share) / len(self.sources)))


def _check(set_name: str, sources: list[str], rejects: Path) -> None:
    try:
        TypeAdapter(Name).validate_python(set_name)
    except ValidationError:
        raise ConfigError(
            f"--set {set_name}: expected at most 63 letters, digits and . _ - that begin with a letter or a digit."
        ) from None
    check_places(sources, rejects)


def check_places(sources: list[str], rejects: Path) -> None:
    """Raises ConfigError where the sources and the rejects file get into each other's way."""
    if sources.count(STDIN) > 1:
        raise ConfigError("Standard input (-) is given twice.")
    if any(os.path.realpath(source) == os.path.realpath(rejects) for source in sources if source != STDIN):
        raise ConfigError(f"--rejects {rejects}: this file is being imported. Choose another.")


@contextmanager
def transaction(engine: Engine) -> Iterator[tuple[Connection, psycopg.Cursor[Any]]]:
    """A transaction with a cursor of the driver's own, because SQLAlchemy has no COPY. Raises ServiceError."""
    try:
        with engine.begin() as connection:
            driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
            assert driver is not None
            with driver.cursor() as cursor:
                yield connection, cursor
    except (psycopg.OperationalError, OperationalError) as exc:
        problem = " ".join(str(getattr(exc, "orig", exc)).split())
        raise ServiceError(f"Postgres failed, so nothing was imported: {problem}. Run the import again.") from exc


def _row(number: int, prompt: Prompt) -> tuple[int, str | None, str, str, str | None, str]:
    messages, meta = json_text(prompt.messages), json_text(prompt.meta)
    return number, prompt.external_id, prompt.sha256, messages, prompt.reference_answer, meta


def _merge(cursor: psycopg.Cursor[Any], set_name: str, staged: int) -> tuple[int | None, int]:
    """(the set's id, how many prompts were new)"""
    if staged:
        cursor.execute(NEW_SET, [set_name])
    found = cursor.execute(LOCK_SET, [set_name]).fetchone()
    if found is None or not staged:
        return (found[0] if found else None), 0
    cursor.execute("ANALYZE prompt_staging")  # autovacuum never sees a temporary table
    cursor.execute(MERGE, {"set_id": found[0]})
    return found[0], cursor.rowcount
