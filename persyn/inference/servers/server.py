"""Starts, watches and stops one model server for a worker, and leaves no process behind.

The server runs under a guardian (guardian.py) that ends it when the worker is gone. Should the guardian be killed as
well, its record under `<home>/servers/` tells the next worker what to kill.
"""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from persyn import processes
from persyn.errors import ServerError
from persyn.inference.servers import kinds
from persyn.inference.servers.spec import ServerSpec

__all__ = ["ProgressWatch", "Server", "ServerSpec", "reap_orphans"]

POLL_S = 0.2
TELL_S = 1.0
LOG_LINES = 20
LEAST_ROOM = 64 * 1024  # bytes of a disk, below which it counts as full
READY_WITHIN_S = 900.0
LOGS_KEPT = 20  # of servers that have ended, on one host
_TOKEN_COUNTER = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? ([0-9.eE+]+)$", re.MULTILINE)


class Server:
    """A running model server; `start` makes it, `stop` or the worker's death ends it.

    Every method blocks for up to seconds, so async code calls them in a thread.
    """

    def __init__(
        self, guardian: subprocess.Popen[bytes], pid: int, port: int, spec: ServerSpec, home: Path, log: Path
    ) -> None:
        self.pid = pid
        self.kind = spec.kind
        self.model_name = kinds.model_name(spec)
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.version = "unknown"
        self.log = log
        self._started = processes.start_time(pid) or 0
        self._guardian = guardian
        self._record = _record_path(home, port)
        # The machine's proxy settings must not apply to the loopback device.
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5.0, trust_env=False)

    @classmethod
    def start(
        cls,
        spec: ServerSpec,
        home: Path,
        *,
        name: str = "model",
        on_wait: Callable[[float], None] | None = None,
        ready_timeout_s: float = READY_WITHIN_S,
    ) -> "Server":
        """Start the server and block until it answers. `on_wait` gets the seconds waited, about once a second.

        Its log is called after `name`, the teacher that it answers for.

        Raises ServerError, with the end of the server's log, where it exits or is not ready in time;
        MissingExtra where its kind is not installed, ConfigError where it cannot do what the spec asks.
        """
        port = _free_port()
        log = _log_path(home, name, port)
        guardian = _start_guardian(spec, home, port, log)
        try:
            server = cls(guardian, _read_pid(guardian, log), port, spec, home, log)
        except BaseException:
            _close(guardian, grace_s=0.0)
            raise
        try:
            server._wait_until_ready(on_wait, ready_timeout_s)
        except BaseException:  # also a Ctrl+C while the model loads
            server.stop(grace_s=2.0)
            raise
        return server

    def alive(self) -> bool:
        """Whether the process runs; an engine that hangs is still alive (see ProgressWatch)."""
        return self._guardian.poll() is None and processes.running(self.pid, self._started)

    def healthy(self) -> bool:
        """Whether it answers /health with 200; a hung engine does, a dead one does not for long."""
        try:
            return self.alive() and self._http.get("/health").status_code == 200
        except (httpx.HTTPError, RuntimeError):
            return False

    def tokens(self) -> int | None:
        """Tokens read and written since the start; None when the server cannot be asked, or does not count them."""
        try:
            counters = _TOKEN_COUNTER.findall(self._http.get("/metrics").text)
        except (httpx.HTTPError, RuntimeError):  # RuntimeError: stop() closed the client meanwhile
            return None
        return int(sum(float(value) for value in counters)) if counters else None

    def stop(self, grace_s: float = 10.0) -> None:
        """End the server and all that it started; SIGKILL after the grace. Returns when nothing is left."""
        _close(self._guardian, grace_s)
        # Nothing to do here unless the guardian itself was killed.
        processes.kill_session(self.pid, self._started)
        self._record.unlink(missing_ok=True)
        self._http.close()

    def _wait_until_ready(self, on_wait: Callable[[float], None] | None, timeout_s: float) -> None:
        began = told = time.monotonic()
        while not self._ready():
            now = time.monotonic()
            if not self.alive():
                raise ServerError(f"The server of {self.model_name} exited before it was ready. {_log_end(self.log)}")
            if now - began > timeout_s:
                raise ServerError(
                    f"The server of {self.model_name} was not ready after {timeout_s:.0f} s; `persyn worker"
                    f" --load-timeout 1h` would give it an hour. {_log_end(self.log)}"
                )
            if on_wait is not None and now - told >= TELL_S:
                told = now
                on_wait(now - began)
            time.sleep(POLL_S)
        self.version = self._ask_version()

    def _ready(self) -> bool:
        """The model's name is asked for as well: another server may have taken the port first."""
        try:
            if self._http.get("/health").status_code != 200:
                return False
            if not kinds.lists_model(self.kind):
                return self.alive()
            models = self._http.get("/v1/models").json()["data"]
            return self.alive() and any(model["id"] == self.model_name for model in models)
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return False

    def _ask_version(self) -> str:
        if self.kind == "transformers":  # it has no answer to this
            return f"transformers {importlib.metadata.version('transformers')}"
        try:
            return str(self._http.get("/version").json()["version"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return "unknown"


class ProgressWatch:
    """Tells a server that hangs from one that is busy or idle.

    vLLM's /health answers 200 while its engine hangs, so only tokens count: with requests in flight, some must be
    read or written within `stall_s` seconds. A server that counts no tokens shows its progress by whole answers; then
    the caller counts those, and is patient enough for the longest.
    """

    def __init__(self, stall_s: float = 120.0) -> None:
        self.stall_s = stall_s
        self._tokens: int | None = None
        self._progress_at: float | None = None

    def hung(self, now: float, tokens: int | None, in_flight: int) -> bool:
        """Feed one observation: `now` in seconds of a monotonic clock, `tokens` as `Server.tokens` gives them."""
        moved = tokens is not None and tokens != self._tokens
        if tokens is not None:
            self._tokens = tokens
        if self._progress_at is None or moved or in_flight == 0:
            self._progress_at = now
        return now - self._progress_at >= self.stall_s


def reap_orphans(home: Path) -> list[int]:
    """Kill the servers on this machine whose worker and guardian are both gone; returns the pids of the servers.

    A server whose guardian still lives is left to it: it is ending the server already.
    """
    reaped = []
    for path, record in _records(home):
        if record["boot"] != processes.boot_id():  # another host's or container's, or of no meaning now
            continue
        if any(processes.running(record[name], record[f"{name}_started"]) for name in ("owner", "guardian")):
            continue
        if processes.members(record["server"], record["server_started"]):
            processes.kill_session(record["server"], record["server_started"])
            reaped.append(record["server"])
        path.unlink(missing_ok=True)
    return reaped


def _records(home: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((home / "servers").glob("*.json")):
        try:
            yield path, json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # its server ended between the two lines above; or no record at all
            continue


def _record_path(home: Path, port: int) -> Path:
    return home / "servers" / f"{socket.gethostname()}-{port}.json"  # containers may share a home and a port


def _log_path(home: Path, name: str, port: int) -> Path:
    return home / "logs" / f"server-{name}-{socket.gethostname()}-{port}.log"


def _remove_old_logs(home: Path) -> None:
    """Keep the newest logs of this host's servers that have ended; those of running ones have a record."""
    running = {path.stem for path in (home / "servers").glob("*.json")}
    ended = [
        path
        for path in (home / "logs").glob(f"server-*-{socket.gethostname()}-*.log")
        if not any(path.stem.endswith(f"-{record}") for record in running)
    ]
    with contextlib.suppress(FileNotFoundError):  # another worker does the same
        for path in sorted(ended, key=lambda path: path.stat().st_mtime)[:-LOGS_KEPT]:
            path.with_name(f"{path.name}.1").unlink(missing_ok=True)
            path.unlink()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_guardian(spec: ServerSpec, home: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    record = _record_path(home, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    _remove_old_logs(home)
    log.unlink(missing_ok=True)  # of another server that had this port
    argv = [
        sys.executable,
        "-m",
        "persyn.inference.servers.guardian",
        "--owner",
        str(os.getpid()),
        "--record",
        str(record),
        "--log",
        str(log),
    ]
    with log.open("ab") as stderr:  # appended to, so that the guardian may cut it while the server writes
        return subprocess.Popen(
            [*argv, "--", *kinds.command(spec, port)],
            env=kinds.environment(spec),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # a Ctrl+C is for the worker, which still needs the server to finish its work
        )


def _read_pid(guardian: subprocess.Popen[bytes], log: Path) -> int:
    assert guardian.stdout is not None
    line = guardian.stdout.readline()
    if not line:
        raise ServerError(f"The server's guardian did not start. {_log_end(log)}")
    return int(line)


def _close(guardian: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask the guardian to end the server, and wait for it; kill it where it takes much longer than the grace."""
    assert guardian.stdin is not None
    assert guardian.stdout is not None
    guardian.stdout.close()
    if guardian.stdin.closed:
        return
    try:
        with guardian.stdin as stdin:
            stdin.write(f"{grace_s}\n".encode())
    except BrokenPipeError:  # it has ended already
        pass
    try:
        guardian.wait(timeout=grace_s + 10.0)
    except subprocess.TimeoutExpired:
        guardian.send_signal(signal.SIGKILL)
        guardian.wait()


def _log_end(path: Path) -> str:
    """The last lines; where there are none, whether the disk had room for any."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    if not lines and shutil.disk_usage(path.parent).free < LEAST_ROOM:
        return f"No space left on device: {path.parent}."
    return f"The end of its log {path}:\n" + "\n".join(lines)
