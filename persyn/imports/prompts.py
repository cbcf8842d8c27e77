"""Imports prompts: they stream into a staging table and are merged into the set in one statement.

One transaction holds it all: an import that fails, or that `strict` refuses, leaves nothing behind, and importing the
same file again adds nothing. Memory stays flat, because rows go from the file into COPY as they are read.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from persyn.config import Name
from persyn.errors import ConfigError
from persyn.imports.locations import expanded
from persyn.imports.prompt_records import Prompt, canonical
from persyn.imports.reader import Format
from persyn.imports.reading import Reading, Taken
from persyn.imports.records import MAX_BYTES
from persyn.imports.rejects import RejectsFile, default_path
from persyn.imports.source_pass import ImportProgress, SourcePass, check_places, publish_rejects, transaction
from persyn.imports.staging import stage

NEW_SET = "INSERT INTO prompt_set (name) VALUES (%s) ON CONFLICT (name) DO NOTHING"
# Imports into one set queue up here, so that they number their prompts one after the other and cannot deadlock.
LOCK_SET = "SELECT id FROM prompt_set WHERE name = %s FOR NO KEY UPDATE"
FIRST = """
CREATE TEMP TABLE prompt_first ON COMMIT DROP AS
SELECT min(number) AS number, sha256 FROM prompt_staging GROUP BY sha256
"""
# The lock leaves no room for a conflict. Positions are counted on narrow rows: sorting whole ones would go to the disk.
MERGE = """
INSERT INTO prompt (prompt_set_id, position, external_id, sha256, messages, reference_answer, meta, tools)
SELECT %(set_id)s, fresh.position, s.external_id, s.sha256, s.messages, s.reference_answer, s.meta, s.tools
FROM prompt_staging s
JOIN (SELECT f.number, last.position + row_number() OVER (ORDER BY f.number) AS position
      FROM prompt_first f
      CROSS JOIN (SELECT coalesce(max(position), -1) AS position FROM prompt WHERE prompt_set_id = %(set_id)s) last
      WHERE NOT EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = %(set_id)s AND p.sha256 = f.sha256)
) fresh ON fresh.number = s.number
"""
# Rows of one text that say different things, in the file and in the set: how many, and the first of them.
REPEATS_DIFFER = """
SELECT count(*) OVER (), s.source, s.line, o.line, s.external_id, o.external_id, s.reference_answer, o.reference_answer
FROM prompt_staging s
JOIN prompt_first f ON f.sha256 = s.sha256 AND f.number < s.number
JOIN prompt_staging o ON o.number = f.number
WHERE s.external_id IS DISTINCT FROM o.external_id OR s.reference_answer IS DISTINCT FROM o.reference_answer
ORDER BY s.number LIMIT 1
"""
STORED_DIFFER = """
SELECT count(*) OVER (), s.source, s.line, NULL, s.external_id, p.external_id, s.reference_answer, p.reference_answer
FROM prompt_first f
JOIN prompt_staging s ON s.number = f.number
JOIN prompt p ON p.prompt_set_id = %(set_id)s AND p.sha256 = f.sha256
WHERE (s.external_id IS NOT NULL AND s.external_id IS DISTINCT FROM p.external_id)
   OR (s.reference_answer IS NOT NULL AND s.reference_answer IS DISTINCT FROM p.reference_answer)
ORDER BY s.number LIMIT 1
"""
SAME_ID = """
SELECT count(*) OVER (), external_id FROM (
    SELECT external_id, sha256 FROM prompt_staging WHERE external_id IS NOT NULL
    UNION ALL
    SELECT p.external_id, p.sha256 FROM prompt p
    WHERE p.prompt_set_id = %(set_id)s AND p.external_id IN (SELECT external_id FROM prompt_staging)) both_of
GROUP BY external_id HAVING min(sha256) <> max(sha256)
ORDER BY external_id LIMIT 1
"""


class PromptImport(NamedTuple):
    """The outcome of an import."""

    read: int  # records, whether good or not
    imported: int
    duplicates: int  # prompts that the set had already
    repeated: int  # prompts that stand in the sources once more
    rejected: int
    rejects_path: Path | None  # None where nothing was rejected
    set_id: int | None  # None where nothing good was read and the set did not exist
    shapes: tuple[Taken, ...] = ()
    notes: tuple[str, ...] = ()  # sentences about prompts that contradict each other
    first_reason: str | None = None  # of the refused
    columns: tuple[str, ...] = ()

    @property
    def came_to_nothing(self) -> bool:
        return self.imported + self.duplicates + self.repeated == 0


def import_prompts(
    engine: Engine,
    set_name: str,
    sources: list[str],
    *,
    reading: Reading | None = None,
    format: Format | None = None,
    strict: bool = False,
    rejects: Path | None = None,
    max_bytes: int = MAX_BYTES,
    on_progress: Callable[[ImportProgress], None] = lambda progress: None,
) -> PromptImport:
    """Add the prompts of files, folders and patterns (or `-`, standard input) to a set, made where it does not exist.

    Raises InputError with `strict` when any record is refused, or when a source is damaged; nothing is imported then.
    Raises ConfigError, NotFound, and ServiceError where Postgres goes away.
    """
    chosen = reading or Reading()

    def check(values: Any, limit: int | None) -> Iterator[Prompt | str]:
        yield canonical(values, chosen, max_bytes=limit)

    check_name(set_name)
    files, rejects_path = expanded(sources, format), rejects or default_path(set_name, sources)
    check_places(files, rejects_path)
    with RejectsFile(rejects_path) as refused, transaction(engine) as (_, cursor):
        source_pass = SourcePass(files, format, max_bytes, check, refused, on_progress)
        staged = stage(cursor, source_pass.items())
        chosen.check_columns()
        published = publish_rejects(refused, strict=strict, what=f"of {source_pass.read} records")
        merged = _merge(cursor, set_name, files, staged) if staged else _Merged(_set_id(cursor, set_name), 0, 0, ())
    return PromptImport(
        source_pass.read, merged.imported, merged.distinct - merged.imported, staged - merged.distinct, refused.count,
        published, merged.set_id, tuple(chosen.taken()), merged.notes, refused.first, tuple(chosen.columns),
    )  # fmt: skip


def check_name(set_name: str) -> None:
    """Raises ConfigError where no run could name the set."""
    try:
        TypeAdapter(Name).validate_python(set_name)
    except ValidationError:
        raise ConfigError(
            f"--set {set_name}: expected at most 63 letters, digits and . _ - that begin with a letter or a digit."
        ) from None


class _Merged(NamedTuple):
    set_id: int | None
    imported: int
    distinct: int  # prompts in the sources, each counted once
    notes: tuple[str, ...]


def _set_id(cursor: psycopg.Cursor[Any], set_name: str) -> int | None:
    row = cursor.execute(LOCK_SET, [set_name]).fetchone()
    return row[0] if row else None


def _merge(cursor: psycopg.Cursor[Any], set_name: str, files: list[str], staged: int) -> _Merged:
    """Merge the staged prompts into the set, and look for contradictions first."""
    cursor.execute(NEW_SET, [set_name])
    is_new = cursor.rowcount == 1
    values = {"set_id": _set_id(cursor, set_name)}
    distinct = cursor.execute(FIRST).rowcount
    cursor.execute("ANALYZE prompt_first")
    notes = [
        _differing(cursor.execute(REPEATS_DIFFER).fetchone(), files, set_name) if distinct < staged else None,
        None if is_new else _differing(cursor.execute(STORED_DIFFER, values).fetchone(), files, set_name),
        _same_id(cursor.execute(SAME_ID, values).fetchone()),
    ]
    imported = cursor.execute(MERGE, values).rowcount
    return _Merged(values["set_id"], imported, distinct, tuple(note for note in notes if note))


def _differing(row: tuple[Any, ...] | None, files: list[str], set_name: str) -> str | None:
    if row is None:
        return None
    count, source, line, first_line, id, other_id, reference, other_reference = row
    field, ours, theirs = ("reference_answer", reference, other_reference)
    if reference is None or reference == other_reference:
        field, ours, theirs = ("id", id, other_id)
    rows, differ = ("1 row", "differs") if count == 1 else (f"{count:,} rows", "differ")
    told = f"{files[source]}, line {line}, has the {field} {_short(ours)} where "
    if first_line is not None:
        return (
            f"{rows} {differ} from an earlier row of the same text: {told}line {first_line} has {_short(theirs)}."
            " The first counts."
        )
    return (
        f"{rows} {differ} from what is stored: {told}{set_name} has {_short(theirs)}."
        f" `persyn prompts update FILE --set {set_name}` takes over what the file says."
    )


def _short(value: str | None) -> str:
    return "none" if value is None else repr(value[:60])


def _same_id(row: tuple[Any, ...] | None) -> str | None:
    if row is None:
        return None
    count, external_id = row
    ids = "1 id stands" if count == 1 else f"{count:,} ids stand"
    return (
        f"{ids} for several texts, such as {_short(external_id)}. All were kept; answers cannot be imported by this id."
    )
