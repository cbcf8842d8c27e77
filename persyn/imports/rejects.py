"""The rejects file: every refused record with its reason, as JSONL, so that a user can correct and import it again."""

import json
import os
from pathlib import Path
from typing import IO

from persyn.errors import InputError
from persyn.imports.reader import STDIN, Rejected


def default_path(set_name: str, sources: list[str]) -> Path:
    """Next to the first source; in the current folder for standard input."""
    if sources[0] == STDIN:
        return Path(f"rejects-{set_name}.jsonl")
    return Path(f"{sources[0]}.rejects.jsonl")


class RejectsFile:
    """A file that is written under a temporary name until `publish` puts it in its place.

    Nothing is written while nothing is refused. A block that ends without `publish` leaves no file behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
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
        entry = {"file": source, "line": rejected.line, "reason": rejected.reason, "raw": rejected.excerpt}
        try:
            self._file = self._file or self._temporary.open("w", encoding="utf-8")
            self._file.write(json.dumps(entry) + "\n")
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def publish(self) -> Path | None:
        """Put the file in its place; None where nothing was refused."""
        if self._file is None:
            return None
        try:
            self._file.close()
            os.replace(self._temporary, self.path)
        except OSError as exc:
            raise self._unwritable(exc) from exc
        return self.path

    def _unwritable(self, exc: OSError) -> InputError:
        return InputError(f"{self.path}: the rejects cannot be written: {exc.strerror}. Choose a place with --rejects.")
