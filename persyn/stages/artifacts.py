"""Where the files of a router or a student are, and how a host gets them: two addresses reach every host, a folder not.

Small ones are rows, stored with the router's or the student's. Larger ones, as of a trained backbone, go to the store
that PERSYN_ARTIFACTS_URL names; without it they stay in a folder of this host. What a host fetched lies in
`routers/SHA256` or `students/SHA256`, a cache: each file of it appears at once and whole, and is fetched anew where it
is not the right one.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine, text

from persyn import removal
from persyn.config import Settings
from persyn.db.models.results import CHUNK_BYTES
from persyn.errors import ConfigError, ModelError
from persyn.files import replacing
from persyn.jobs import wake_ups
from persyn.router import artifact
from persyn.stores import VARIABLE, Store
from persyn.students import trained

log = logging.getLogger(__name__)

IN_DATABASE_AT_MOST = 64 * 1024 * 1024  # bytes of one artifact's files

_STORE_CHUNK = text("""
INSERT INTO artifact_chunk (sha256, file, part, content) VALUES (:sha256, :file, :part, :content)
ON CONFLICT (sha256, file, part) DO NOTHING
""")
_CHUNK = text("SELECT content FROM artifact_chunk WHERE sha256 = :sha256 AND file = :file AND part = :part")
_HOST = text("""
SELECT l.host FROM (SELECT lease_id, artifact_sha256 FROM router
                    UNION ALL SELECT lease_id, artifact_sha256 FROM student_model) made
JOIN lease l ON l.id = made.lease_id WHERE made.artifact_sha256 = :sha256 LIMIT 1
""")
# A lease that was revoked stores nothing any more.
_LEFT = text("""
SELECT found.id FROM unnest(CAST(:ids AS bigint[])) AS found (id)
WHERE NOT EXISTS (SELECT FROM lease l WHERE l.id = found.id AND (
          l.revoked_at IS NULL OR l.revoked_at > clock_timestamp() - make_interval(secs => :seconds)))
  AND NOT EXISTS (SELECT FROM router r WHERE r.lease_id = found.id AND r.artifact_place = 'store')
  AND NOT EXISTS (SELECT FROM student_model m WHERE m.lease_id = found.id AND m.artifact_place = 'store')
""")

_NAME = re.compile(r"run-\d+-lease-(\d+)")

Place = Literal["database", "store", "host"]


class Kind(NamedTuple):
    """A kind of artifact, and how its files are told to be whole."""

    noun: str
    description: str  # the file whose sha256 stands for all; it is written last
    listed: Callable[[bytes], Sequence[str]]  # the other files, by the description's content
    is_whole: Callable[[Path, str], bool]  # whether a folder holds those of this sha256
    again: str  # what makes them anew

    def files(self, folder: Path) -> list[str]:
        """The names of the files that lie in the folder, the description last."""
        return [*self.listed((folder / self.description).read_bytes()), self.description]


ROUTER = Kind(
    "router", artifact.DESCRIPTION, lambda _: [artifact.WEIGHTS], artifact.is_whole,
    "train it again: `persyn router train RUN --again`",
)  # fmt: skip
STUDENT = Kind(
    "student", trained.DESCRIPTION, trained.files, trained.is_whole,
    "train it again: `persyn student train RUN --again`",
)  # fmt: skip


class Kept(NamedTuple):
    """Files as the row of their router or student will name them. `path`: a folder here, or the store's name for it."""

    kind: Kind
    place: Place
    path: str
    sha256: str
    folder: Path  # of this host, where they were written


def name_of(run_id: int, lease_id: int) -> str:
    """The folder's name for one attempt at a run's job; no other attempt of this deployment takes it."""
    return f"run-{run_id}-lease-{lease_id}"


def store_here() -> Store | None:
    """The store that this process's environment names. Raises ConfigError where it is no URL."""
    url = Settings.from_environment().artifacts_url
    return None if url is None else Store(url)


def try_out() -> None:
    """Try the store of this host, if it has one: a night of training that could not be kept is not begun.

    Raises ConfigError, MissingExtra.
    """
    if (store := store_here()) is not None:
        store.try_out()


def keep(kind: Kind, folder: Path, sha256: str, name: str, on_block: Callable[[], object] = lambda: None) -> Kept:
    """Choose the place for files that were just written, and bring them into the store if that is it.

    name: what they are called in the store. on_block: called as they move. Raises ConfigError where they cannot.
    """
    files = kind.files(folder)
    if sum((folder / file).stat().st_size for file in files) <= IN_DATABASE_AT_MOST:
        return Kept(kind, "database", name, sha256, folder)
    store = store_here()
    if store is None:
        return Kept(kind, "host", str(folder), sha256, folder)
    for file in files:
        store.write(f"{name}/{file}", folder / file, on_block)
    return Kept(kind, "store", name, sha256, folder)


def store_chunks(conn: Connection, kept: Kept) -> None:
    """Store the files of a router or student whose row was just written, if the database is their place.

    Those of the router that it replaces go.
    """
    removal.delete_unnamed_chunks(conn)
    if kept.place == "database":
        for file in kept.kind.files(kept.folder):
            with (kept.folder / file).open("rb") as source:
                blocks = iter(partial(source.read, CHUNK_BYTES), b"")
                for part, content in enumerate(blocks):
                    conn.execute(_STORE_CHUNK, {"sha256": kept.sha256, "file": file, "part": part, "content": content})


def settle(kept: Kept, home: Path) -> None:
    """Let the folder in which the files were written be this host's cache, if their place is elsewhere."""
    if kept.place != "host":
        with suppress(OSError):  # the cache is there already, of a twin: it is as good
            kept.folder.rename(cache(kept.kind, home, kept.sha256))
        shutil.rmtree(kept.folder, ignore_errors=True)


def cache(kind: Kind, home: Path, sha256: str) -> Path:
    """The folder for the fetched files of this router or student."""
    return home / f"{kind.noun}s" / sha256


def folder(kind: Kind, engine: Engine, place: str, path: str, sha256: str, home: Path) -> Path:
    """The folder on this host in which the files are, fetched if need be.

    Raises ConfigError where this host cannot get them, ModelError where they are not those that were stored.
    """
    if place == "host":
        return _on_this_host(kind, engine, Path(path), sha256)
    target = cache(kind, home, sha256)
    if not kind.is_whole(target, sha256):
        read = partial(_chunks, engine, sha256) if place == "database" else _from_store(kind, path)
        _fetch(kind, read, target)
        log.info("action=fetch_%s sha256=%s from=%s", kind.noun, sha256, place)
    return target


def _fetch(kind: Kind, read: Callable[[str], Iterator[bytes]], target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        description = b"".join(read(kind.description))
        for file in kind.listed(description) if description else ():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            with replacing(target / file) as copy:
                copy.writelines(read(file))
        with replacing(target / kind.description) as copy:
            copy.write(description)
    except OSError as exc:
        raise ModelError(
            f"The {kind.noun}'s files cannot be written to {target}: {exc.strerror}. Make room, or set PERSYN_HOME to"
            " another folder."
        ) from exc


def _chunks(engine: Engine, sha256: str, file: str) -> Iterator[bytes]:
    """Each in a transaction of its own, because the next one may take a while."""
    for part in count():
        with engine.connect() as conn:
            content = conn.execute(_CHUNK, {"sha256": sha256, "file": file, "part": part}).scalar()
        if content is None:
            return
        yield bytes(content)


def _from_store(kind: Kind, path: str) -> Callable[[str], Iterator[bytes]]:
    store = store_here()
    if store is None:
        raise ConfigError(
            f"The {kind.noun}'s files are in the store as {path}, and the environment variable {VARIABLE} is not set on"
            f" this host. Set it as on the host that trained the {kind.noun}."
        )
    return lambda file: store.read(f"{path}/{file}")


def _on_this_host(kind: Kind, engine: Engine, path: Path, sha256: str) -> Path:
    """The folder of a router of an earlier version, or of large files without a store, if this host sees it."""
    try:
        (path / kind.description).read_bytes()
    except OSError as exc:
        with engine.connect() as conn:
            host = conn.execute(_HOST, {"sha256": sha256}).scalar() or "another"
        raise ConfigError(
            f"The {kind.noun}'s files are in {path} on the host {host}, and cannot be read here ({exc.strerror}). Set"
            f" {VARIABLE} on every host to a folder that all of them reach, such as s3://bucket/folder, and"
            f" {kind.again}."
        ) from exc
    return path


def prune_store(engine: Engine, older_than_s: float) -> int:
    """Delete what trainings that ended before then left in the store and nothing names; returns how many folders."""
    store = store_here()
    if store is None:
        return 0
    with engine.connect() as conn:
        deployment = wake_ups.deployment(conn)
        found = {int(match[1]): match[0] for match in map(_NAME.fullmatch, store.folders(deployment)) if match}
        left = conn.execute(_LEFT, {"ids": list(found), "seconds": older_than_s}).scalars().all()
    for lease_id in left:
        store.remove(f"{deployment}/{found[lease_id]}")
    return len(left)
