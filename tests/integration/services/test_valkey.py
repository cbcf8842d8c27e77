import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from persyn import services
from persyn.config import Settings
from persyn.jobs.wake_ups import BROKER_ERRORS, DRAIN, application, wake
from persyn.services import broker, valkey
from persyn.services.embedded import wait_until

WORKER = """
import sys
from pathlib import Path
from persyn.jobs.wake_ups import DRAIN, application
app = application(sys.argv[1], "test")
@app.task(name=DRAIN)
def drain(queue):
    Path(sys.argv[2], queue).touch()
app.worker_main("worker -P threads -c 1 -Q test --without-mingle --without-gossip -l WARNING".split())
"""


@contextmanager
def worker(url: str, folder: Path) -> Iterator[None]:
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", WORKER, url, str(folder)], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def drained(url: str, folder: Path, file: str) -> bool:
    """Send wake-ups until one arrives; any of them may be lost while the broker is away."""
    with application(url, "test") as app:

        def arrived() -> bool:
            app.send_task(DRAIN, (file,), queue="test")
            return wait_until((folder / file).exists, 2)

        return wait_until(arrived, 60)


def test_celery_delivers_wake_ups_also_after_the_broker_was_killed_and_came_back_empty(
    settings: Settings, tmp_path: Path
) -> None:
    url = services.connect(settings).broker_url
    with worker(url, tmp_path):
        assert drained(url, tmp_path, "before"), (tmp_path / "worker.log").read_text()
        killed = valkey.pid(settings.home)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        assert wait_until(lambda: not valkey.running(settings.home), 10)
        assert services.connect(settings).broker_url == url
        assert drained(url, tmp_path, "after"), (tmp_path / "worker.log").read_text()


def test_a_hung_server_is_ended_by_force(settings: Settings) -> None:
    services.connect(settings)
    hung = valkey.pid(settings.home)
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    services.stop(settings)
    assert valkey.pid(settings.home) is None


def test_a_socket_that_outlives_its_server_does_not_pass_for_one(settings: Settings) -> None:
    """A killed server's process is gone some moments before its socket closes."""
    services.connect(settings)
    killed = valkey.pid(settings.home)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: not valkey.running(settings.home), 10)
    path = valkey.socket_path(settings.home)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
        left_over.listen()
        assert not valkey.running(settings.home)
        services.connect(settings)
    assert valkey.pid(settings.home) not in (None, killed)


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    url = services.connect(settings).broker_url.replace("redis+socket", "unix")
    with redis.Redis.from_url(url) as client:
        yield client


def test_two_deployments_on_one_broker_see_none_of_each_others_wake_ups(settings: Settings) -> None:
    url = services.connect(settings).broker_url
    with application(url, "one") as one, application(url, "two") as two:
        assert wake(one, "teacher.t", 500) == 8
        assert wake(one, "teacher.t", 500) == 0
        assert wake(two, "teacher.t", 500) == 8


def test_a_broker_that_is_full_is_an_error_of_the_broker(settings: Settings, client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    try:
        with application(valkey.url(settings.home), "full") as app, pytest.raises(BROKER_ERRORS, match="maxmemory"):
            wake(app, "teacher.t", 1)
    finally:
        client.config_set("maxmemory", 0)
        client.flushall()


def test_a_broker_that_does_not_tell_its_version_runs_all_the_same(settings: Settings, client: redis.Redis) -> None:
    assert (broker.probe(valkey.url(settings.home)) or "")[0].isdigit()
    client.acl_setuser(
        "teller", enabled=True, passwords=["+x"], keys=["*"], channels=["*"], commands=["+@all", "-info"]
    )
    assert broker.probe(f"redis+socket://teller:x@{valkey.socket_path(settings.home)}") == ""
    assert broker.probe(f"redis+socket://teller:wrong@{valkey.socket_path(settings.home)}") is None
