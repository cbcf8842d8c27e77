"""The log of a process on standard error: one line an event, for people or as JSON for programs.

Each line says when (with the zone), on which host, by which worker, and which run, job and teacher it is about. No text
from outside can break a line or give the terminal an order, and every key in it is masked.
"""

import json
import logging
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from persyn.secrets import MaskedLog

SEVERAL = 10
LEVEL, FORMAT = "PERSYN_LOG_LEVEL", "PERSYN_LOG_FORMAT"  # the environment's names of the two options

# Controls, and what turns the direction of a line or ends it; a lone surrogate has no UTF-8.
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ACTION = re.compile(r"action=(\w+)(?: |$)")
# The HTTP library logs each request, and Celery each wake-up.
_NOISY = ("httpx", "alembic", "celery.worker.strategy", "celery.app.trace")

_about: ContextVar[Mapping[str, str]] = ContextVar("_about", default=MappingProxyType({}))


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


@contextmanager
def about(**things: int | str) -> Iterator[None]:
    """Let each line of this thread or task name these things: `run` and `job` by number, `teacher` by name."""
    token = _about.set({**_about.get(), **{name: str(thing) for name, thing in things.items() if thing != ""}})
    try:
        yield
    finally:
        _about.reset(token)


def several(numbers: Iterable[int]) -> str:
    """Numbers for `about`, each once; the first ten of many."""
    known = sorted(set(numbers))
    return ",".join(map(str, known[:SEVERAL])) + ("…" if len(known) > SEVERAL else "")


def to_stderr(level: Level, form: Format, *, worker: str | None = None) -> None:
    """Send what this process logs to standard error, in place of wherever it went before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(MaskedLog())
    handler.setFormatter(JsonLines(worker) if form is Format.JSON else TextLines(worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.NOTSET if level is Level.DEBUG else logging.WARNING)


def is_json() -> bool:
    """Whether this process logs as JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


class _Lines(logging.Formatter):
    def __init__(self, worker: str | None = None) -> None:
        super().__init__()
        self._ours = {"host": socket.gethostname()} | ({"worker": worker} if worker else {})

    def _time(self, record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")

    def _things(self) -> dict[str, str]:
        return {**self._ours, **_about.get()}

    def _traceback(self, record: logging.LogRecord) -> str:
        return record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")


class TextLines(_Lines):
    """`TIME LEVEL LOGGER host=… worker=… run=… job=… teacher=… MESSAGE`; the lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        things = " ".join(f"{name}={_harmless(thing)}" for name, thing in self._things().items())
        line = f"{self._time(record)} {record.levelname} {record.name} {things} {_harmless(record.getMessage())}"
        return "\n".join([line, *(f"    {_harmless(each)}" for each in self._traceback(record).splitlines())])


class JsonLines(_Lines):
    """One object a line, in ASCII: time, level, logger, host, worker, run, job, teacher, action, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        action, traceback = _ACTION.match(message), self._traceback(record)
        found = {"time": self._time(record), "level": record.levelname.lower(), "logger": record.name, **self._things()}
        found |= {"action": action[1]} if action else {}
        found["message"] = message[action.end() :] if action else message
        return json.dumps(found | ({"traceback": traceback} if traceback else {}))


def _harmless(text: str) -> str:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)
