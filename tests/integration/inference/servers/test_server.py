import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from persyn import processes
from persyn.errors import ServerError
from persyn.inference.servers import guardian
from persyn.inference.servers.server import Server, ServerSpec

HOST = socket.gethostname()
STUB = ServerSpec("stub-model", revision=None, dtype="auto", max_model_len=None, args=(), kind="stub")


def session_of(server: Server) -> list[int]:
    return processes.members(server.pid, server._started)


def test_a_ready_server_answers_under_its_url_and_tells_its_version(server: Server, home: Path) -> None:
    models = httpx.get(f"{server.base_url}/models").json()["data"]
    assert [model["id"] for model in models] == [server.model_name] == ["stub-model"]
    assert server.version.startswith("stub ")
    assert server.alive()
    assert session_of(server) == [server.pid]


def test_stop_leaves_no_process_and_no_record_and_may_be_called_twice(server: Server, home: Path) -> None:
    assert list((home / "servers").iterdir())
    server.stop()
    server.stop()
    assert session_of(server) == []
    assert not server.alive()
    assert list((home / "servers").iterdir()) == []


def test_a_killed_server_is_not_alive(server: Server, eventually: Callable[..., None]) -> None:
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not server.alive())


def test_a_server_that_hangs_is_alive_but_cannot_be_asked_and_stop_ends_it(server: Server) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    assert server.alive()
    server.stop(grace_s=0.1)
    assert session_of(server) == []


def test_stop_works_where_the_guardian_was_killed(server: Server, eventually: Callable[..., None]) -> None:
    os.kill(server.pid, signal.SIGSTOP)  # so that it cannot obey the SIGTERM that its guardian's death sends
    os.kill(psutil.Process(server.pid).ppid(), signal.SIGKILL)  # its guardian
    eventually(lambda: not server.alive())
    assert session_of(server) == [server.pid]
    server.stop()
    assert session_of(server) == []


def test_tokens_count_what_was_read_and_written(server: Server) -> None:
    assert server.tokens() == 0
    body = {"model": "stub-model", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 7}
    httpx.post(f"{server.base_url}/chat/completions", json=body).raise_for_status()
    assert server.tokens() == 10
    server.stop()
    assert server.tokens() is None


def test_a_server_that_exits_at_once_shows_the_end_of_its_log(home: Path) -> None:
    with pytest.raises(ServerError, match="exited before it was ready") as caught:
        Server.start(STUB._replace(args=("--no-such-flag",)), home)
    assert "unrecognized arguments: --no-such-flag" in str(caught.value)
    assert str(home / "logs") in str(caught.value)
    assert list((home / "servers").iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ("--model", "another"),  # healthy, but somebody else
        ("--port", "0"),  # not where it was asked to listen
    ],
)
def test_a_server_that_is_never_ready_is_ended(args: tuple[str, ...], home: Path) -> None:
    waited: list[float] = []
    with pytest.raises(ServerError, match="not ready after 2 s"):
        Server.start(STUB._replace(args=args), home, on_wait=waited.append, ready_timeout_s=2.0)
    assert waited
    assert waited == sorted(waited)
    assert list((home / "servers").iterdir()) == []


def test_a_break_while_waiting_ends_the_server(home: Path) -> None:
    def interrupt(_waited: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Server.start(STUB._replace(args=("--port", "0")), home, on_wait=interrupt)
    assert list((home / "servers").iterdir()) == []


def test_a_log_is_named_after_its_teacher_and_old_ones_go(home: Path) -> None:
    folder = home / "logs"
    folder.mkdir(parents=True)
    for number in range(30):
        for name in (
            f"server-ann-{HOST}-{number}.log",
            f"server-ann-{HOST}-{number}.log.1",
            f"server-a-else-{number}.log",
        ):
            (folder / name).write_text("old")
            os.utime(folder / name, (number, number))
    (home / "servers").mkdir()
    (home / "servers" / f"{HOST}-0.json").write_text("{}")  # that one still runs
    server = Server.start(STUB, home, name="bob")
    server.stop()
    assert server.log.name.startswith(f"server-bob-{HOST}-")
    assert server.log.exists()
    left = {path.name for path in folder.iterdir()} - {server.log.name}
    kept = {f"server-ann-{HOST}-{number}.log{part}" for number in (0, *range(10, 30)) for part in ("", ".1")}
    assert left == kept | {f"server-a-else-{number}.log" for number in range(30)}


def test_a_log_that_grows_is_cut_while_its_server_writes(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab") as server:
        server.write(b"x" * 11)
        server.flush()
        guardian._bound(log, at_most=11)
        assert log.stat().st_size == 11
        server.write(b"y")
        server.flush()
        guardian._bound(log, at_most=11)
        server.write(b"after")
        server.flush()
    assert log.read_bytes() == b"after"
    assert (tmp_path / "server.log.1").read_bytes() == b"x" * 11 + b"y"
