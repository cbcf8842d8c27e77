"""What a worker's port answers."""

from collections.abc import Iterator

import httpx
import pytest

from persyn.errors import ConfigError
from persyn.workers import health


class Port:
    def __init__(self) -> None:
        self.trouble: str | None = None
        self.server = health.serve("127.0.0.1", 0, lambda: self.trouble)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.server.server_port}{path}")


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.server.shutdown()
    port.server.server_close()


def test_a_worker_is_healthy_until_something_is_wrong_with_it(port: Port) -> None:
    assert (port.get("/healthz").status_code, port.get("/healthz").text) == (200, "ok\n")
    port.trouble = "Lease 7 is lost, and the drain does not notice."
    assert (port.get("/healthz").status_code, port.get("/healthz").text) == (503, f"{port.trouble}\n")


def test_metrics_are_served_and_nothing_else(port: Port) -> None:
    assert "persyn_" in port.get("/metrics").text
    assert port.get("/secrets").status_code == 404


def test_a_port_that_is_taken_is_a_sentence(port: Port) -> None:
    with pytest.raises(ConfigError, match=r"--metrics-port \d+: cannot listen there, at 127\.0\.0\.1"):
        health.serve("127.0.0.1", port.server.server_port, lambda: None)
