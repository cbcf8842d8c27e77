"""The surroundings of an embedded server: a lock, an account, private folders and a socket."""

import hashlib
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, lock_descriptor

from persyn.errors import ServiceError

ACCOUNT = "pgserver"
SOCKET_PATH_LIMIT = 103  # bytes of sun_path without its final zero: 107 on Linux, 103 on macOS


class Account(NamedTuple):
    """The user and group that a server runs as."""

    uid: int
    gid: int


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the lock of `home` across processes; the kernel releases it with its holder, so it cannot go stale.

    Raises OSError where `home` cannot be used, also where its file system has no locks.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(home / "services.lock", fallback_to_soft=False):
        yield


def accepts(path: Path) -> bool:
    """Whether a server listens on the Unix socket at `path`; a crashed server's socket file refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def socket_folder(folder: Path, file: str) -> Path:
    """Where a server that lives in `folder` puts its socket `file`.

    That is `folder` itself, unless the path is too long for a socket or has characters that would need quoting in a
    server's configuration or a URL; then it is a folder in /tmp whose name only depends on `folder`, so that every
    process finds it. Not TMPDIR: that differs between shells.
    """
    if len(os.fsencode(folder / file)) <= SOCKET_PATH_LIMIT and re.fullmatch(r"[\w./-]+", str(folder), re.ASCII):
        return folder
    return Path("/tmp") / f"persyn-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def private_folder(folder: Path, owner: Account) -> None:
    """Create `folder` for `owner` alone.

    Raises ServiceError where someone else made it first, which matters in /tmp.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (owner.uid, os.geteuid()):
        raise ServiceError(f"{folder} belongs to someone else. Remove it, or set PERSYN_HOME.")
    if os.geteuid() == 0:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(0o700)


def current_account() -> Account:
    return Account(os.geteuid(), os.getegid())


def unprivileged_account() -> Account:
    """The current user; for root, which Postgres refuses to run as, a system user that is made where it is missing."""
    if os.geteuid() != 0:
        return current_account()
    # Of two `useradd` at once one may take the other's user back, after a process was told of it.
    with open("/etc/passwd") as users:  # FileLock would open it for writing
        lock_descriptor(users.fileno())
        return _find_account() or _create_account()


def _find_account() -> Account | None:
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _create_account() -> Account:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if useradd:
        command = [useradd, "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", ACCOUNT]
        subprocess.run(command, capture_output=True, check=False)
    account = _find_account()  # also after a failure: another process may have made it meanwhile
    if account is None:
        raise ServiceError(
            f"Postgres does not run as root and the system user {ACCOUNT} could not be made. Make it, "
            "run PerSyn as an ordinary user, or set PERSYN_DATABASE_URL."
        )
    return account


def open_path(path: Path, account: Account) -> None:
    """Let `account` pass through the folders above `path`: search permission only, and only where it lacks it.

    A project under /root is the usual case in a container, and no server of another user could reach its data there.
    """
    if account.uid == os.geteuid():
        return
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid != account.uid and not status.st_mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)


def run(command: list[str | Path], account: Account, folder: Path, stdin: str = "") -> None:
    """Run one of a server's own tools to its end, as `account`, in `folder`.

    A server that it leaves behind must not inherit a pipe, or reading it would never end: the output goes to a file.
    The environment starts empty, so that no PG* variable of the user's changes what the tools do.
    Raises ServiceError with the tool's last lines.
    """
    switch = account.uid != os.geteuid()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            input=stdin.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            user=account.uid if switch else None,
            group=account.gid if switch else None,
            extra_groups=[] if switch else None,
        )
        output.seek(0)
        said = " ".join(output.read().split())[-600:]
    if done.returncode:
        raise ServiceError(f"{Path(command[0]).name} failed in {folder}: {said or f'exit code {done.returncode}'}.")
