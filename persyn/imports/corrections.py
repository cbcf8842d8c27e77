"""Corrects stored prompts from a file: reference answers, ids and metadata, never a text.

A prompt is found by its text, or by its id where the record has no text. Quality that was measured by an earlier
reference answer is taken back with its jobs, so that the run measures it again.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine

from persyn import jobs
from persyn.errors import NotFound
from persyn.imports.fields import Refused
from persyn.imports.locations import expanded
from persyn.imports.prompt_records import Prompt, canonical, json_text, scalar, unstorable
from persyn.imports.prompts import LOCK_SET
from persyn.imports.reader import Format
from persyn.imports.reading import Reading
from persyn.imports.records import MAX_BYTES, Rejected
from persyn.imports.rejects import RejectsFile, default_path
from persyn.imports.source_pass import ImportProgress, SourcePass, check_places, parts, publish_rejects, transaction
from persyn.imports.staging import stage

READ_REFERENCE = ("math_verify", "judge")  # the scorers that read a prompt's reference answer

MATCH = """
CREATE TEMP TABLE correction ON COMMIT DROP AS
SELECT s.number, s.source, s.line, s.external_id, s.reference_answer, s.meta, s.sha256, p.id AS prompt_id,
       row_number() OVER (PARTITION BY p.id ORDER BY s.number) AS turn, false AS has_new_reference
FROM prompt_staging s
LEFT JOIN LATERAL (
    SELECT min(x.id) AS id FROM prompt x
    WHERE x.prompt_set_id = %(set_id)s AND CASE WHEN s.sha256 IS NULL THEN x.external_id = s.external_id
                                                ELSE x.sha256 = s.sha256 END
    HAVING count(*) = 1) p ON true
"""
REFUSED = """
SELECT c.source, c.line, coalesce(c.external_id, ''), CASE
    WHEN c.prompt_id IS NOT NULL THEN 'the prompt is corrected by an earlier row already'
    WHEN c.sha256 IS NULL AND EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = %(set_id)s
                                      AND p.external_id = c.external_id) THEN 'several prompts of the set have this id'
    WHEN EXISTS (SELECT FROM prompt p WHERE p.prompt_set_id = %(set_id)s AND p.external_id = c.external_id)
    THEN 'the prompt of this id has another text, and a text never changes: import the new one under an id of its own'
    ELSE 'the set has no such prompt' END
FROM correction c WHERE c.prompt_id IS NULL OR c.turn > 1 ORDER BY c.number
"""
DROP_REFUSED = "DELETE FROM correction WHERE prompt_id IS NULL OR turn > 1"
MARK_NEW_REFERENCES = """
UPDATE correction c SET has_new_reference = true FROM prompt p
WHERE p.id = c.prompt_id AND c.reference_answer IS NOT NULL AND c.reference_answer IS DISTINCT FROM p.reference_answer
"""
UPDATE = """
UPDATE prompt p
SET reference_answer = coalesce(c.reference_answer, p.reference_answer),
    external_id = coalesce(c.external_id, p.external_id), meta = p.meta || c.meta
FROM correction c
WHERE p.id = c.prompt_id
  AND (coalesce(c.reference_answer, p.reference_answer), coalesce(c.external_id, p.external_id), p.meta || c.meta)
      IS DISTINCT FROM (p.reference_answer, p.external_id, p.meta)
"""
# The jobs are locked before the scores are looked at: one that a worker is completing now is waited for.
SCORE_JOBS = """
SELECT j.id FROM correction c JOIN generation g ON g.prompt_id = c.prompt_id
JOIN job j ON j.generation_id = g.id JOIN scorer s ON s.id = j.scorer_id
WHERE c.has_new_reference AND j.kind = 'score' AND s.method = ANY(%(methods)s) ORDER BY j.id FOR UPDATE OF j
"""
REMOVE_SCORES = """
DELETE FROM score x USING generation g, scorer s, correction c
WHERE g.id = x.generation_id AND s.id = x.scorer_id AND c.prompt_id = g.prompt_id AND c.has_new_reference
  AND s.method = ANY(%(methods)s)
"""
# The runs that read such a score, whoever made it.
REOPEN = """
UPDATE run SET finished_at = NULL
WHERE id IN (SELECT rs.run_id FROM run_scorer rs JOIN scorer s ON s.id = rs.scorer_id WHERE s.method = ANY(%(methods)s))
  AND prompt_set_id = %(set_id)s
"""


class PromptUpdate(NamedTuple):
    """The outcome of a correction."""

    read: int
    updated: int
    unchanged: int
    rejected: int
    scores_removed: int  # that an earlier reference answer had led to
    rejects_path: Path | None
    first_reason: str | None = None

    @property
    def came_to_nothing(self) -> bool:
        return self.updated + self.unchanged == 0


def update_prompts(
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
) -> PromptUpdate:
    """Correct a set's prompts from files. Raises as `import_prompts` does, and NotFound where there is no such set."""
    chosen = reading or Reading()

    def check(values: Any, limit: int | None) -> Iterator[Prompt | str]:
        yield _correction(values, chosen, limit)

    files, rejects_path = expanded(sources, format), rejects or default_path(f"{set_name}-update", sources)
    check_places(files, rejects_path)
    with RejectsFile(rejects_path) as refused, transaction(engine) as (connection, cursor):
        row = cursor.execute(LOCK_SET, [set_name]).fetchone()
        if row is None:
            raise NotFound(f"There is no prompt set {set_name!r}. `persyn prompts list` lists those that there are.")
        source_pass = SourcePass(files, format, max_bytes, check, refused, on_progress)
        staged = stage(cursor, source_pass.items())
        chosen.check_columns()
        staged -= _match(connection, cursor, row[0], files, refused)
        published = publish_rejects(refused, strict=strict, what=f"of {source_pass.read} records")
        changed = cursor.execute(MARK_NEW_REFERENCES).rowcount
        updated = cursor.execute(UPDATE).rowcount
        removed = _take_back(connection, cursor, row[0]) if changed else 0
    return PromptUpdate(source_pass.read, updated, staged - updated, refused.count, removed, published, refused.first)


def _correction(values: Any, reading: Reading, max_bytes: int | None) -> Prompt | str:
    """A prompt; one without a text, and so without a sha256, where the record has an id alone."""
    try:
        record, plan = reading.plan(values)
        if not plan.lacking or "id" not in plan.fields:
            return canonical(values, reading, max_bytes=max_bytes)
        meta = {key: value for key, value in record.items() if key not in plan.used}
        prompt = Prompt(scalar(plan, "id", record), "", "[]", scalar(plan, "reference_answer", record), json_text(meta))
    except Refused as exc:
        return str(exc)
    except RecursionError:
        return "holds a nesting that JSON cannot store"
    return unstorable(json_text([prompt.external_id, prompt.reference_answer]), prompt.meta_json) or prompt


def _match(
    connection: Connection, cursor: psycopg.Cursor[Any], set_id: int, files: list[str], refused: RejectsFile
) -> int:
    """Find each row's prompt; returns the number of rows that have none, or that repeat one."""
    cursor.execute(MATCH, {"set_id": set_id})
    for rows in parts(connection, REFUSED, {"set_id": set_id}):
        for source, line, external_id, reason in rows:
            refused.add(files[source], Rejected(line, reason, external_id))
    return cursor.execute(DROP_REFUSED).rowcount


def _take_back(connection: Connection, cursor: psycopg.Cursor[Any], set_id: int) -> int:
    """Remove the scores that the prompts' old reference answers led to; returns their number."""
    values = {"set_id": set_id, "methods": list(READ_REFERENCE)}
    for rows in parts(connection, SCORE_JOBS, values):
        jobs.remove(connection, [row[0] for row in rows])
    removed = cursor.execute(REMOVE_SCORES, values).rowcount
    cursor.execute(REOPEN, values)
    return removed
