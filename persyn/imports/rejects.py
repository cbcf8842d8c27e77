"""The rejects file: every refused record with its reason, one JSON object a line.

Its name ends as no data's does, so that a pattern such as `*.jsonl` never takes it for data.
"""

import json
import os
from pathlib import Path
from typing import IO

from persyn.errors import InputError
from persyn.imports.hub import PREFIX
from persyn.imports.locations import REJECTS
from persyn.imports.reader import STDIN
from persyn.imports.records import Rejected

KEYS = ("file", "line", "reason", "raw")


def default_path(name: str, sources: list[str]) -> Path:
    """Next to the first source; in the current folder for standard input and the hub."""
    if sources[0] == STDIN or sources[0].startswith(PREFIX):
        return Path(f"{name}{REJECTS}")
    return Path(f"{sources[0].rstrip('/')}{REJECTS}")


class RejectsFile:
    """A file that is written under a temporary name until `publish` puts it in its place.

    Nothing is written while nothing is refused. A block that ends without `publish` leaves no file behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.first: str | None = None  # of the reasons, with its place
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file: IO[str] | None = None

    def __enter__(self) -> "RejectsFile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def add(self, source: str, rejected: Rejected) -> None:
        """Raises InputError where the file cannot be written."""
        self.count += 1
        entry = dict(zip(KEYS, (source, rejected.line, rejected.reason, rejected.excerpt), strict=True))
        self.first = self.first or f"{source}, line {rejected.line}: {rejected.reason}"
        try:
            self._file = self._file or self._temporary.open("w", encoding="utf-8")
            self._file.write(json.dumps(entry) + "\n")
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def publish(self) -> Path | None:
        """Put the file in its place; None where nothing was refused: then that of an earlier import goes."""
        if self._file is None:
            if _is_rejects_file(self.path):
                self.path.unlink(missing_ok=True)
            return None
        try:
            self._file.close()
            os.replace(self._temporary, self.path)
        except OSError as exc:
            raise self._unwritable(exc) from exc
        return self.path

    def _unwritable(self, exc: OSError) -> InputError:
        return InputError(f"{self.path}: the rejects cannot be written: {exc.strerror}. Choose a place with --rejects.")


def _is_rejects_file(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            entry = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and tuple(entry) == KEYS
