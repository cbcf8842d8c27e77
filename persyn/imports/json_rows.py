"""JSONL, JSON and plain text as records."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

from persyn.errors import InputError
from persyn.imports import broken_json, columnwise
from persyn.imports.lines import Line, read_lines
from persyn.imports.records import Record, Rejected, excerpt
from persyn.imports.shapes import recognised

ROWS = "data"  # what many files call their one list, and UltraChat its turns
JSON_FILE_BYTES = 1 << 28  # a JSON file is parsed as a whole, so it must fit into memory


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return values


_NO_SPACE = re.compile(r"[^ \t\r\n]")
# NaN and infinity are a table's holes: they become null.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None, object_pairs_hook=_object)


def read_jsonl(stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    """Each line's value."""
    for line in read_lines(stream, max_bytes):
        if line.too_long:
            yield too_long(line, max_bytes)
        elif line.raw.strip():
            yield _parse_line(line)


def read_text(stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    """Each line as a text."""
    for line in read_lines(stream, max_bytes):
        if line.too_long:
            yield too_long(line, max_bytes)
        elif line.raw.strip():
            try:
                yield Record(line.number, line.raw.decode("utf-8").rstrip("\r\n"), line.raw)
            except UnicodeDecodeError:
                yield Rejected(line.number, "not UTF-8", excerpt(line.raw))


def read_json(name: str, stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    """The rows of an array, of a table, those of the one list in an object, or the object itself. Raises InputError."""
    data = stream.read(JSON_FILE_BYTES + 1)
    if len(data) > JSON_FILE_BYTES:
        raise InputError(f"{name}: larger than {JSON_FILE_BYTES >> 20} MiB. Convert it to JSONL: `jq -c '.[]' FILE`.")
    try:
        whole = _DECODER.decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise _no_json(name, exc, "") from exc
    except json.JSONDecodeError as exc:
        if not exc.msg.startswith("Extra data"):
            raise _no_json(name, exc, exc.doc) from exc
        values = _one_after_the_other(data.decode("utf-8-sig"))
        if values is None:
            yield from read_jsonl(BytesIO(data), max_bytes)  # one object a line, and some are broken
        else:
            yield from (Record(number, value, None) for number, value in enumerate(values, start=1))
        return
    except (ValueError, RecursionError) as exc:
        raise _no_json(name, exc, data.decode("utf-8-sig")) from exc
    for number, values in enumerate(_rows(name, whole), start=1):
        yield Record(number, values, None)


def _one_after_the_other(text: str) -> list[Any] | None:
    """Values that follow each other, over as many lines as each takes; None where one of them is broken."""
    values = []
    start = _NO_SPACE.search(text)
    while start:
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            return None
        values.append(value)
        start = _NO_SPACE.search(text, end)
    return values


def too_long(line: Line, max_bytes: int) -> Rejected:
    return Rejected(line.number, f"longer than {max_bytes} bytes", excerpt(line.raw))


def _no_json(name: str, exc: Exception, text: str) -> InputError:
    told = broken_json.in_words(exc, text)
    return InputError(f"{name}: not valid JSON: {told}. With one object a line, add --format jsonl.")


def _rows(name: str, whole: Any) -> list[Any]:
    if not isinstance(whole, dict):
        return whole if isinstance(whole, list) else [whole]
    known = recognised([key for key, value in whole.items() if value is not None and key != ROWS])
    try:
        table = columnwise.rows(whole) if known or len(whole) > 1 else None
    except ValueError as exc:
        raise InputError(f"{name}: {exc}.") from exc
    if table is not None:
        return table
    if known:
        return [whole]
    lists = [
        key
        for key, value in whole.items()
        if isinstance(value, list) and value and (isinstance(value[0], dict) or len(whole) == 1)
    ]
    if len(lists) > 1:
        raise InputError(
            f"{name}: holds several lists: {', '.join(lists)[:200]}."
            f" Take one out: `jq -c '.{lists[0]}[]' FILE > NEW.jsonl`."
        )
    return list(whole[lists[0]]) if lists else [whole]


def _parse_line(line: Line) -> Record | Rejected:
    try:
        return Record(line.number, _DECODER.decode(line.raw.decode("utf-8")), line.raw)
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except (ValueError, RecursionError) as exc:  # a repeated key, an integer of thousands of digits, endless nesting
        reason = f"broken JSON: {broken_json.in_words(exc, line.raw.decode('utf-8'))}"
    return Rejected(line.number, reason, excerpt(line.raw))
