"""A folder behind a URL that several hosts reach (`s3://`, `gs://`, `sftp://`, `file://` on a shared disk), by fsspec.

What stands in the URL for an account is masked from then on. Each trouble with the store is one sentence.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from persyn import secrets
from persyn.config.secrecy import SECRET_KEY, looks_secret
from persyn.errors import ConfigError, MissingExtra, PersynError

VARIABLE = "PERSYN_ARTIFACTS_URL"
_BLOCK = 8 * 1024 * 1024
_SIGNATURE = re.compile("sig|token|key|secret|passw", re.IGNORECASE)


class Store:
    """The store that PERSYN_ARTIFACTS_URL names; names in it are relative, with `/` between their parts."""

    def __init__(self, url: str) -> None:
        """Asks nobody yet. Raises ConfigError where this is no URL."""
        self.url, self.shown = url, _shown(url)
        if not _know(url):
            raise ConfigError(
                f"The environment variable {VARIABLE} is {self.shown!r}: expected a URL, such as s3://bucket/folder or"
                " file:///mnt/shared."
            )

    def write(self, name: str, source: Path, on_block: Callable[[], object] = lambda: None) -> None:
        """Copy a file into the store; `on_block` is called as it moves. Raises ConfigError, MissingExtra."""
        with source.open("rb") as file, self._told("cannot be written", _GRANT_WRITING):
            system, path = self._at(name)
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with system.open(path, "wb") as target:
                while block := file.read(_BLOCK):
                    target.write(block)
                    on_block()

    def read(self, name: str) -> Iterator[bytes]:
        """The file's blocks. Raises ConfigError, MissingExtra."""
        with self._told(f"cannot give {name}", _GRANT_READING):
            system, path = self._at(name)
            with system.open(path, "rb") as file:
                while block := file.read(_BLOCK):
                    yield block

    def folders(self, name: str) -> list[str]:
        """The names of what lies directly in this folder; none where there is no such folder."""
        with self._told("cannot be listed", _GRANT_READING):
            system, path = self._at(name)
            system.invalidate_cache()
            inside = system.ls(path, detail=False) if system.isdir(path) else []
            return [found.rstrip("/").rpartition("/")[2] for found in inside]

    def remove(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it."""
        with self._told("cannot be written", _GRANT_WRITING):
            system, path = self._at(name)
            system.rm(path, recursive=True)

    def try_out(self) -> None:
        """Write, read and delete a few bytes. Raises ConfigError, MissingExtra."""
        name, content = f".tried-{os.urandom(6).hex()}", os.urandom(16)
        with self._told("cannot be written", _GRANT_WRITING):
            system, path = self._at(name)
            system.pipe_file(path, content)
            found = system.cat_file(path)
            system.rm_file(path)
        if found != content:
            raise ConfigError(
                f"{VARIABLE} ({self.shown}) gives back other bytes than it was given. Name another store."
            )

    def _at(self, name: str) -> tuple[Any, str]:
        """The file system and the path of a name in it."""
        from fsspec.core import url_to_fs  # noqa: PLC0415 - most hosts name no store

        system, root = url_to_fs(self.url)
        # A missing mount would take the files silently, and no other host would see them.
        if "file" in _protocols(system) and not Path(root).is_dir():
            raise FileNotFoundError("there is no such folder")
        return system, f"{root.rstrip('/')}/{name}"

    @contextmanager
    def _told(self, what: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except PersynError:
            raise
        except ImportError as exc:
            raise MissingExtra(f"{VARIABLE} ({self.shown}): {self._said(exc)}, with pip on this host.") from exc
        except Exception as exc:  # each file system raises errors of its own
            raise ConfigError(f"{VARIABLE} ({self.shown}) {what}: {self._said(exc)}. {remedy}") from exc

    def _said(self, exc: Exception) -> str:
        said = " ".join(str(exc).split()).rstrip(".") or type(exc).__name__
        return said.replace(self.url, self.shown)


_GRANT_WRITING = "Let this host write there, or name another store on every host."
_GRANT_READING = "Let this host read there, and set the variable as on the host that trained the router."


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _know(url: str) -> bool:
    """Mask what stands in the URL for an account (a password, a key, a name that looks like one); whether it is one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    found = [password, user if looks_secret(user) else ""]
    found += [value for key, value in parse_qsl(parts.query) if SECRET_KEY.search(key) or _SIGNATURE.search(key)]
    for secret in found:
        secrets.know(secret)
        secrets.know(unquote(secret))
    return re.match(r"[A-Za-z][\w+.:-]*://", url) is not None


def _shown(url: str) -> str:
    """The URL without account and query."""
    return re.sub(r"://[^/\s]*@", f"://{secrets.MASK}@", url.partition("?")[0])
