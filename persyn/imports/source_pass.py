"""The steps that both imports share: one pass over the sources, inside one transaction.

Memory stays flat, because each good item is handed on before the next record is read.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from persyn.errors import ConfigError, InputError, ServiceError
from persyn.imports.reader import STDIN, Format, open_source
from persyn.imports.records import Record, Rejected, excerpt
from persyn.imports.rejects import RejectsFile

PROGRESS_EVERY = 1000  # records
AT_ONCE = 5000  # rows that a statement may name

T = TypeVar("T")


class ImportProgress(NamedTuple):
    read: int  # records so far, over all sources
    share: float | None  # of all sources, 0 to 1; None where a size is not known


class SourceItem(NamedTuple, Generic[T]):
    """One good item of a record."""

    source: int  # its place among the sources, from 0
    line: int
    value: T


@dataclass
class SourcePass(Generic[T]):
    """One pass over all sources: yields the good items, writes the refused ones to the rejects file, counts records.

    `check` gives a record's items, and for each item that it refuses a sentence without a full stop that says why. Its
    second argument is the most bytes that the record may have; None where the reader has measured them already.
    """

    sources: list[str]
    format: Format | None
    max_bytes: int
    check: Callable[[Any, int | None], Iterable[T | str]]
    refused: RejectsFile
    on_progress: Callable[[ImportProgress], None]
    read: int = 0

    def items(self) -> Iterator[SourceItem[T]]:
        """Raises what `open_source` and `Source.records` raise."""
        for number, location in enumerate(self.sources):
            with open_source(location, self.format) as source:
                for record in source.records(self.max_bytes):
                    self.read += 1
                    for checked in self._checked(record):
                        if isinstance(checked, Rejected):
                            self.refused.add(source.name, checked)
                        else:
                            yield SourceItem(number, record.line, checked)
                    if self.read % PROGRESS_EVERY == 0:
                        share = source.share()
                        whole = None if share is None else (number + share) / len(self.sources)
                        self.on_progress(ImportProgress(self.read, whole))
        self.on_progress(ImportProgress(self.read, 1.0))

    def _checked(self, record: Record | Rejected) -> Iterator[T | Rejected]:
        if isinstance(record, Rejected):
            yield record
            return
        for item in self.check(record.values, self.max_bytes if record.raw is None else None):
            if isinstance(item, str):
                yield Rejected(record.line, item, excerpt(record.values if record.raw is None else record.raw))
            else:
                yield item


def check_places(sources: list[str], rejects: Path) -> None:
    """Raises ConfigError where the sources and the rejects file get into each other's way."""
    if sources.count(STDIN) > 1:
        raise ConfigError("Standard input (-) is given twice.")
    if any(os.path.realpath(source) == os.path.realpath(rejects) for source in sources if source != STDIN):
        raise ConfigError(f"--rejects {rejects}: this file is being imported. Choose another.")


def publish_rejects(refused: RejectsFile, *, strict: bool, what: str) -> Path | None:
    """Put the rejects file in its place, if any. With `strict` a refused item then raises InputError.

    what: the kind of thing that is counted, such as "of 10 records".
    """
    published = refused.publish()
    if strict and published:
        raise InputError(
            f"{refused.count} {what} were refused, so nothing was imported (--strict). The reasons are in {published}."
        )
    return published


@contextmanager
def transaction(engine: Engine) -> Iterator[tuple[Connection, psycopg.Cursor[Any]]]:
    """A transaction, and a cursor of its driver, because SQLAlchemy has no COPY. Raises ServiceError."""
    try:
        with engine.begin() as connection:
            driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
            assert driver is not None
            with driver.cursor() as cursor:
                yield connection, cursor
    except (psycopg.OperationalError, OperationalError) as exc:
        problem = " ".join(str(getattr(exc, "orig", exc)).split())
        raise ServiceError(f"Postgres failed, so nothing was imported: {problem}. Run the import again.") from exc


def parts(connection: Connection, statement: str, values: Mapping[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a SELECT as they are now, AT_ONCE at a time: neither memory nor a statement grows with the set."""
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor(name="parts") as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(AT_ONCE):
            yield rows
