"""A TCP proxy that fails on request: cut, half-open, slow, or exactly at the COMMIT of a chosen transaction.

It stands before a Unix socket or a TCP port. What it knows of Postgres' protocol is only how messages are framed, so
that it can tell the COMMIT of a claim from that of a completion by a piece of the SQL that went before.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

Where = str | tuple[str, int]  # a Unix socket's path, or host and port
Action = Literal["hold", "hold_reply", "reset"]

# Pieces of SQL that only stand in one kind of transaction.
CLAIM = b"UPDATE lease SET deadline_at"  # sent only where a claim found jobs
COMPLETION = b"INSERT INTO generation"
ENQUEUE = b"INSERT INTO job (run_id"


class Trap:
    """Springs once, at the next COMMIT of a transaction that holds `of`.

    hold: the COMMIT never reaches the server. hold_reply: it does, and its answer never comes back. reset: it does,
    and the client meets a reset connection in place of the answer.
    """

    def __init__(self, of: bytes, action: Action) -> None:
        self.of, self.action = of, action
        self.sprung = threading.Event()


class Proxy:
    """Listens on 127.0.0.1 or `host`; every connection is two threads. `close` ends all."""

    def __init__(self, target: Where, *, host: str = "127.0.0.1", postgres: bool = False) -> None:
        self.target, self._postgres = target, postgres
        self.delay_s = 0.0
        self.traps: list[Trap] = []
        self.connections = 0
        self._refusing = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def trap(self, of: bytes, action: Action) -> Trap:
        trap = Trap(of, action)
        with self._lock:
            self.traps.append(trap)
        return trap

    def cut(self) -> None:
        """Reset what is connected, and reset whoever comes, until `mend`."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset what is connected now; new connections work."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.reset()

    def half_open(self) -> None:
        """Swallow everything in both directions and say nothing, as a host that lost its power; until `mend`."""
        self._flowing.clear()

    def mend(self) -> None:
        """Let new connections through. Those that were half-open are reset: the other end has forgotten them."""
        if not self._flowing.is_set():
            self.reset()
        self._refusing = False
        self._flowing.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._refusing = True
        self.reset()
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._refusing:
                _reset(client)
                continue
            threading.Thread(target=self._open, args=(client,), daemon=True).start()

    def _open(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = _connect(self.target)
        except OSError:
            _reset(client)
            return
        link = _Link(self, client, server)
        with self._lock:
            self._links.add(link)
        threading.Thread(target=link.pump_back, daemon=True).start()
        link.pump_forth()
        with self._lock:
            self._links.discard(link)

    def flow(self) -> None:
        """Wait out a half-open time and the delay."""
        self._flowing.wait()
        if self.delay_s:
            time.sleep(self.delay_s)

    def sprung(self, seen: bytes) -> Trap | None:
        """The trap that this transaction's COMMIT springs, taken out."""
        with self._lock:
            for trap in self.traps:
                if trap.of in seen:
                    self.traps.remove(trap)
                    return trap
        return None

    @property
    def reads_sql(self) -> bool:
        return self._postgres


class _Link:
    """One client's connection and the one made for it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._statements: dict[bytes, bytes] = {}  # prepared: later only their names are sent
        self._transaction = b""
        self._trap: Trap | None = None

    def pump_forth(self) -> None:
        """Client to server, message by message where it is Postgres."""
        try:
            for chunk in self._messages() if self._proxy.reads_sql else _chunks(self._client):
                self._proxy.flow()
                trap = self._sprung(chunk) if self._proxy.reads_sql else None
                if trap is not None and trap.action == "hold":
                    trap.sprung.set()
                    self._wait_for_client()
                    return
                self._trap = trap
                self._server.sendall(chunk)
        except OSError:
            pass
        finally:
            self._end()

    def pump_back(self) -> None:
        """Server to client; what answers a trapped COMMIT goes nowhere."""
        try:
            for chunk in _chunks(self._server):
                self._proxy.flow()
                if self._trap is not None:  # the server has committed: it answers
                    self._trap.sprung.set()
                    if self._trap.action == "reset":
                        self.reset()
                        return
                    continue
                self._client.sendall(chunk)
        except OSError:
            pass
        finally:
            self._end()

    def reset(self) -> None:
        _reset(self._client)
        _reset(self._server)

    def _end(self) -> None:
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _wait_for_client(self) -> None:
        """Until it is killed; then the server sees its transaction's connection end without the COMMIT."""
        with suppress(OSError):
            while self._client.recv(65536):
                pass

    def _messages(self) -> Iterator[bytes]:
        (length,) = struct.unpack("!i", start := _exactly(self._client, 4))
        yield start + _exactly(self._client, length - 4)
        while True:
            head = _exactly(self._client, 5)
            (length,) = struct.unpack("!i", head[1:])
            yield head + _exactly(self._client, length - 4)

    def _sprung(self, message: bytes) -> Trap | None:
        """Follow the transaction's SQL; the trap that this message springs, if it is its COMMIT."""
        kind, body = message[:1], message[5:]
        if kind == b"Q" and body.startswith(b"COMMIT"):
            seen, self._transaction = self._transaction, b""
            return self._proxy.sprung(seen)
        if kind == b"Q" and body.startswith((b"BEGIN", b"ROLLBACK")):
            self._transaction = b""
        elif kind == b"Q":
            self._transaction += body
        elif kind == b"P":
            name, query = body.split(b"\0")[:2]
            self._statements[name] = query
        elif kind == b"B":
            name = body.split(b"\0")[1]
            self._transaction += self._statements.get(name, b"")
        return None


def _connect(target: Where) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target, timeout=None)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(target)
    except OSError:
        server.close()
        raise
    return server


def _chunks(side: socket.socket) -> Iterator[bytes]:
    while chunk := side.recv(65536):
        yield chunk


def _exactly(side: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = side.recv(count - len(found))
        if not more:
            raise ConnectionResetError
        found += more
    return found


def _reset(side: socket.socket) -> None:
    """End it with RST in place of FIN, and wake whoever reads from it."""
    with suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        side.shutdown(socket.SHUT_RD)
    side.close()
