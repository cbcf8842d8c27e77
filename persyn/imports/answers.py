"""Imports answers that others made: they stream into a staging table, are matched to the run's prompts, then merged.

As with prompts, one transaction holds it all, memory stays flat, and the same file again adds nothing. An imported
answer names its file (`generation.import_id`), so that the trail of a prompt shows the origin of each answer.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine

from persyn import jobs
from persyn.errors import ConfigError
from persyn.imports.answer_records import Pool, answers, identity
from persyn.imports.hub import PREFIX
from persyn.imports.locations import expanded
from persyn.imports.reader import STDIN, Format
from persyn.imports.reading import Reading, Taken
from persyn.imports.records import Rejected, excerpt
from persyn.imports.rejects import RejectsFile, default_path
from persyn.imports.source_pass import ImportProgress, SourcePass, check_places, parts, publish_rejects, transaction

MAX_BYTES = 1 << 24  # of a record, which holds an answer of every teacher

TEACHERS = """
SELECT t.name, t.id FROM run_teacher rt JOIN teacher t ON t.id = rt.teacher_id
WHERE rt.run_id = %s ORDER BY rt.position
"""
IMPORTED_SCORER = """
SELECT s.id, (s.config ->> 'minimum')::float8, (s.config ->> 'maximum')::float8
FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id WHERE rs.run_id = %s AND s.method = 'imported'
"""
STAGING = """
CREATE TEMP TABLE answer_staging (
    number bigint, line bigint, import_id bigint, external_id text, sha256 char(64), teacher_id bigint, text text,
    reasoning text, finish_reason text, prompt_tokens int, completion_tokens int, quality float8, tool_calls jsonb,
    prompt_id bigint
) ON COMMIT DROP
"""
COPY = """
COPY answer_staging (number, line, import_id, external_id, sha256, teacher_id, text, reasoning, finish_reason,
                     prompt_tokens, completion_tokens, quality, tool_calls) FROM STDIN
"""
NEW_IMPORT = "INSERT INTO generation_import (run_id, path) VALUES (%s, %s) RETURNING id"
READ_WHOLE = "UPDATE generation_import SET sha256 = %s WHERE id = %s"
MATCH_TEXT = """
UPDATE answer_staging s SET prompt_id = p.id
FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id
WHERE r.id = %s AND p.sha256 = s.sha256
"""
MATCH_ID = """
UPDATE answer_staging s SET prompt_id = p.id
FROM (SELECT external_id, min(p.id) AS id FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id
      WHERE r.id = %s AND external_id IS NOT NULL GROUP BY external_id HAVING count(*) = 1) p
WHERE s.sha256 IS NULL AND p.external_id = s.external_id
"""
# The first answer of a file counts. An answer that equals the stored one is no mistake and adds nothing.
REFUSED = """
SELECT s.number, i.path, s.line, t.name, left(s.text, 200), CASE
    WHEN s.prompt_id IS NULL AND s.sha256 IS NULL AND EXISTS (
        SELECT FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id
        WHERE r.id = %(run_id)s AND p.external_id = s.external_id) THEN 'several prompts of the set have this id'
    WHEN s.prompt_id IS NULL AND EXISTS (
        SELECT FROM prompt p JOIN run r ON r.prompt_set_id = p.prompt_set_id
        WHERE r.id = %(run_id)s AND p.external_id = s.external_id) THEN 'the prompt of this id has another text'
    WHEN s.prompt_id IS NULL THEN 'the run''s prompt set has no such prompt'
    WHEN s.earlier IS NOT NULL THEN 'answered already in line ' || s.earlier
    WHEN (g.text, g.tool_calls) IS DISTINCT FROM (s.text, s.tool_calls) AND g.id IS NOT NULL
    THEN 'the prompt has another answer of this teacher already'
    ELSE 'the answer has another quality already' END
FROM (SELECT x.*, CASE WHEN row_number() OVER same > 1 THEN first_value(line) OVER same END AS earlier
      FROM answer_staging x WINDOW same AS (PARTITION BY coalesce(prompt_id, -number), teacher_id ORDER BY number)) s
JOIN teacher t ON t.id = s.teacher_id
JOIN generation_import i ON i.id = s.import_id
LEFT JOIN generation g ON g.prompt_id = s.prompt_id AND g.teacher_id = s.teacher_id AND g.sample_index = 0
LEFT JOIN score q ON q.generation_id = g.id AND q.scorer_id = %(scorer_id)s
WHERE s.prompt_id IS NULL
   OR (s.earlier IS NOT NULL OR g.id IS NOT NULL) AND (g.text, g.tool_calls) IS DISTINCT FROM (s.text, s.tool_calls)
   OR q.value <> s.quality
ORDER BY s.number
"""
DROP = "DELETE FROM answer_staging WHERE number = ANY(%s)"
MERGE = """
INSERT INTO generation (prompt_id, teacher_id, text, reasoning, tool_calls, finish_reason, prompt_tokens,
                        completion_tokens, origin, import_id)
SELECT prompt_id, teacher_id, text, reasoning, tool_calls, finish_reason, prompt_tokens, completion_tokens, 'imported',
       import_id
FROM answer_staging ORDER BY number
ON CONFLICT (prompt_id, teacher_id, sample_index) DO NOTHING
"""
MERGE_QUALITY = """
INSERT INTO score (generation_id, scorer_id, value, import_id)
SELECT g.id, %(scorer_id)s, s.quality, s.import_id
FROM answer_staging s
JOIN generation g ON g.prompt_id = s.prompt_id AND g.teacher_id = s.teacher_id AND g.sample_index = 0
WHERE s.quality IS NOT NULL
ON CONFLICT (generation_id, scorer_id) DO NOTHING
"""
# Jobs that ask for an answer that is now imported.
MOOT = """
SELECT j.id FROM answer_staging s JOIN job j ON j.prompt_id = s.prompt_id AND j.teacher_id = s.teacher_id
WHERE j.kind = 'generate' AND j.state IN ('ready', 'dead') AND j.sample_index = 0 ORDER BY j.id
"""
REOPEN = "UPDATE run SET finished_at = NULL WHERE id = %s"

SCORED_SHAPE = "ultrafeedback"  # whose answers have scores of their own
SCORES_LEFT = "The scores in the file were left out: the run has no quality scorer of the kind imported."


class AnswerImport(NamedTuple):
    """The outcome of an import."""

    read: int  # records, whether good or not
    imported: int  # answers
    duplicates: int  # answers that were there already, word for word
    scored: int  # of all answers, how many got a quality
    rejected: int  # answers, and records of which nothing could be read
    rejects_path: Path | None  # None where nothing was rejected
    shapes: tuple[Taken, ...] = ()
    first_reason: str | None = None  # of the refused
    notes: tuple[str, ...] = ()  # sentences about what the run did not take

    @property
    def came_to_nothing(self) -> bool:
        return self.imported + self.duplicates == 0


def import_answers(
    engine: Engine,
    run_id: int,
    sources: list[str],
    *,
    reading: Reading | None = None,
    answers_as: str | None = None,
    format: Format | None = None,
    strict: bool = False,
    rejects: Path | None = None,
    max_bytes: int = MAX_BYTES,
    on_progress: Callable[[ImportProgress], None] = lambda progress: None,
) -> AnswerImport:
    """Add the answers of files (or `-`, standard input) to a run's prompts and teachers.

    answers_as: the teacher whose answers those without a name are.

    Raises InputError with `strict` when any answer is refused, or when a source is damaged; nothing is imported then.
    Raises ConfigError, NotFound, and ServiceError where Postgres goes away.
    """
    files, rejects_path = expanded(sources, format), rejects or default_path(f"answers-{run_id}", sources)
    check_places(files, rejects_path)
    chosen = reading or Reading()
    with RejectsFile(rejects_path) as refused, transaction(engine) as (connection, cursor):
        pool = _pool(cursor, run_id)
        if answers_as is not None and answers_as not in pool.teachers:
            raise ConfigError(
                f"--answers-as {answers_as}: the run has no such teacher; it has {', '.join(pool.teachers)}."
            )
        check = _check_by(pool, chosen, answers_as)
        source_pass = SourcePass(files, format, max_bytes, check, refused, on_progress)
        staged = _stage(cursor, run_id, source_pass)
        chosen.check_columns()
        staged -= _match(connection, cursor, run_id, pool, refused)
        published = publish_rejects(refused, strict=strict, what="answers or records")
        imported = cursor.execute(MERGE).rowcount
        scored = cursor.execute(MERGE_QUALITY, {"scorer_id": pool.scorer_id}).rowcount if pool.scorer_id else 0
        for moot in parts(connection, MOOT, {}):
            jobs.cancel(connection, [row[0] for row in moot])
        cursor.execute(REOPEN, [run_id])
    shapes = tuple(chosen.taken())
    notes = (SCORES_LEFT,) if pool.scorer_id is None and any(taken.shape == SCORED_SHAPE for taken in shapes) else ()
    return AnswerImport(
        source_pass.read, imported, staged - imported, scored, refused.count, published, shapes, refused.first, notes
    )


def _check_by(
    pool: Pool, reading: Reading, answers_as: str | None
) -> Callable[[Any, int | None], Iterator[tuple[Any, ...] | str]]:
    """A function from a record to its good answers as rows of the staging table, and the reasons for the others."""

    def check(values: Any, limit: int | None) -> Iterator[tuple[Any, ...] | str]:
        prompt = identity(values, reading, max_bytes=limit)
        if isinstance(prompt, str):
            yield prompt
            return
        for answer in answers(values, prompt, reading, pool, answers_as):
            yield answer if isinstance(answer, str) else (prompt.external_id, prompt.sha256, *answer)

    return check


def _pool(cursor: psycopg.Cursor[Any], run_id: int) -> Pool:
    teachers = dict(cursor.execute(TEACHERS, [run_id]).fetchall())
    scorer = cursor.execute(IMPORTED_SCORER, [run_id]).fetchone()
    return Pool(teachers, *scorer) if scorer else Pool(teachers, None)


def _stage(cursor: psycopg.Cursor[Any], run_id: int, source_pass: SourcePass[tuple[Any, ...]]) -> int:
    """Stream the answers into the staging table, and note each file that was read to its end."""
    imports = [_new_import(cursor, run_id, source) for source in source_pass.sources]
    cursor.execute(STAGING)
    staged = 0
    with cursor.copy(COPY) as copy:
        for staged, item in enumerate(source_pass.items(), start=1):
            copy.write_row((staged, item.line, imports[item.source], *item.value))
    for source, import_id in zip(source_pass.sources, imports, strict=True):
        cursor.execute(READ_WHOLE, [_sha256(source), import_id])
    return staged


def _new_import(cursor: psycopg.Cursor[Any], run_id: int, source: str) -> int:
    row = cursor.execute(NEW_IMPORT, [run_id, source]).fetchone()
    assert row is not None, "an INSERT with RETURNING gives a row"
    return int(row[0])


def _match(connection: Connection, cursor: psycopg.Cursor[Any], run_id: int, pool: Pool, refused: RejectsFile) -> int:
    """Find each answer's prompt, and remove the answers without one or with a contradiction; returns their number."""
    cursor.execute("ANALYZE answer_staging")  # autovacuum never sees a temporary table
    cursor.execute(MATCH_TEXT, [run_id])
    cursor.execute(MATCH_ID, [run_id])
    dropped = 0
    for rows in parts(connection, REFUSED, {"run_id": run_id, "scorer_id": pool.scorer_id}):
        for _, path, line, teacher, text, reason in rows:
            refused.add(path, Rejected(line, f"{teacher}: {reason}", excerpt(text.encode())))
        dropped += cursor.execute(DROP, [[row[0] for row in rows]]).rowcount
    return dropped


def _sha256(source: str) -> str | None:
    if source == STDIN or source.startswith(PREFIX):
        return None
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
