"""The table through which prompts stream from files into a set, and the questions that it can answer on the way."""

from collections.abc import Iterable
from typing import Any

import psycopg

from persyn.imports.prompt_records import Prompt
from persyn.imports.source_pass import SourceItem

# Texts are compared byte by byte: the locale's order costs twice the time and means nothing here.
STAGING = """
CREATE TEMP TABLE prompt_staging (
    number bigint, source int, line bigint, external_id text COLLATE "C", sha256 text COLLATE "C", messages jsonb,
    reference_answer text, meta jsonb, tools json
) ON COMMIT DROP
"""
COPY = (
    "COPY prompt_staging (number, source, line, external_id, sha256, messages, reference_answer, meta, tools)"
    " FROM STDIN"
)
WORK_MEMORY = "SET LOCAL work_mem = '64MB'"  # the joins of some hundred thousand prompts stay in memory
ROWS_AT_ONCE = 256
_NULL = "\\N"


def stage(cursor: psycopg.Cursor[Any], items: Iterable[SourceItem[Prompt]]) -> int:
    """Stream prompts into a fresh staging table; returns their number."""
    cursor.execute(WORK_MEMORY)
    cursor.execute(STAGING)
    number, rows = 0, []
    with cursor.copy(COPY) as copy:
        for number, item in enumerate(items, start=1):
            rows.append(_line(number, item))
            if len(rows) == ROWS_AT_ONCE:
                copy.write("".join(rows))
                rows.clear()
        copy.write("".join(rows))
    # Autovacuum never sees a temporary table. The wide columns are joined by nothing.
    cursor.execute("ANALYZE prompt_staging (number, external_id, sha256)")
    return number


def _line(number: int, item: SourceItem[Prompt]) -> str:
    r"""A row in the text format of COPY, which knows `\N` for null. JSON has its line breaks escaped already."""
    prompt = item.value
    messages, meta = prompt.messages_json.replace("\\", "\\\\"), prompt.meta_json.replace("\\", "\\\\")
    id, reference, sha256 = _cell(prompt.external_id), _cell(prompt.reference_answer), prompt.sha256 or _NULL
    tools = _cell(prompt.tools_json)
    return f"{number}\t{item.source}\t{item.line}\t{id}\t{sha256}\t{messages}\t{reference}\t{meta}\t{tools}\n"


def _cell(value: str | None) -> str:
    if value is None:
        return _NULL
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
