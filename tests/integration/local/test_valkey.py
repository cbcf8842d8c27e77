import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from persyn.config import Settings
from persyn.local import services, valkey
from persyn.local.processes import wait_until

OPTIONS = {
    "visibility_timeout": 3600,
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

WORKER = f"""
import sys
from pathlib import Path
from celery import Celery
app = Celery(broker=sys.argv[1])
app.conf.update(
    task_ignore_result=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={OPTIONS!r},
)
@app.task(name="drain")
def drain(queue):
    Path(sys.argv[2], queue).touch()
app.worker_main("worker -P threads -c 1 --without-mingle --without-gossip -l WARNING".split())
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


def drained(url: str, folder: Path, queue: str) -> bool:
    """Send wake-ups until one arrives; any of them may be lost while the broker is away."""
    with Celery(broker=url) as app:
        app.conf.update(task_ignore_result=True, broker_transport_options=OPTIONS)

        def arrived() -> bool:
            app.send_task("drain", (queue,))
            return wait_until((folder / queue).exists, 2)

        return wait_until(arrived, 60)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
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
