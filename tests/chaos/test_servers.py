"""The model server under a worker's supervisor: its guardian killed, itself killed, its worker killed, or it hangs."""

import json
import os
import signal
from typing import Any

import httpx
import pytest
from fleet import TIMES, Fleet
from start import LEASE_TTL_S

from persyn.services.embedded import wait_until

LONG = pytest.mark.chaos_long
ARGS = ("--latency-s", "0.3", "--latency-sigma", "0.5")


def server(fleet: Fleet) -> dict[str, Any]:
    """The record of the server that runs now: the ids of its processes, and its port."""
    folder = fleet.folder / "home" / "servers"
    fleet.eventually(lambda: any(folder.glob("*.json")))
    path = max(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text()) | {"port": int(path.stem.rpartition("-")[2])}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "victim",
    [
        "server",
        pytest.param("guardian", marks=pytest.mark.chaos_long),
        pytest.param("owner", marks=pytest.mark.chaos_long),
    ],
)
@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.chaos_long)])
def test_a_killed_process_of_a_server_costs_only_what_was_in_flight(fleet: Fleet, victim: str, times: int) -> None:
    fleet.load(200 * times, server_args=ARGS)
    worker = fleet.start()
    for _ in range(times):
        fleet.working()
        found = server(fleet)
        fleet.fault()
        os.kill(found[victim], signal.SIGKILL)
        if victim == "owner":
            worker.wait()
            worker = fleet.start()
        assert wait_until(lambda found=found: gone(found["server"]), 60), "the server outlived what held it"
    fleet.finish()
    names = {"server": "the model server", "guardian": "the model server's parent", "owner": "a worker with a server"}
    fleet.verdict(f"kill -9 of {names[victim]}")


@LONG
def test_a_server_that_hangs_while_its_health_is_good_is_replaced(fleet: Fleet) -> None:
    fleet.load(600, server_args=ARGS)
    fleet.start()
    for _ in range(3):
        fleet.working()
        found = server(fleet)
        url = f"http://127.0.0.1:{found['port']}"
        fleet.fault()
        httpx.post(f"{url}/stub/config", json={"failures": {"hang": 1.0}}).raise_for_status()
        assert httpx.get(f"{url}/health").status_code == 200
        fleet.eventually(lambda found=found: gone(found["server"]))
    fleet.finish()
    fleet.verdict("the server hangs while /health says 200")


@LONG
@pytest.mark.timeout(1800)
def test_a_load_that_is_longer_than_the_lease_loses_no_job(fleet: Fleet) -> None:
    """It says nothing for longer than a stall, too."""
    load_s = LEASE_TTL_S * 3
    fleet.load(60 * TIMES, server_args=(*ARGS, "--load-s", f"{load_s:g}"))
    for _ in range(TIMES):
        fleet.fault()
        worker = fleet.start("--stall-s", f"{load_s / 2:g}")
        fleet.working()
        fleet.mended()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
    fleet.start()
    fleet.finish()
    assert fleet.scalar("SELECT count(*) FROM job_event WHERE event = 'lost'") == 0
    fleet.verdict("a load longer than the lease")
