"""Serves a worker's metrics, and whether it works, over HTTP: `/metrics` and `/healthz`."""

import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from persyn.errors import ConfigError

log = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Not a line for each look."""


def serve(host: str, port: int, trouble: Callable[[], str | None]) -> WSGIServer:
    """Serve from a thread until the process ends; `trouble()` says what is wrong, None where nothing is.

    Raises ConfigError where the port cannot be had.
    """
    metrics = make_wsgi_app()

    def application(environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] in ("/", "/metrics"):
            return metrics(environ, respond)  # type: ignore[no-any-return]
        if environ["PATH_INFO"] != "/healthz":
            return _say(respond, "404 Not Found", "There are /metrics and /healthz.")
        said = trouble()
        return _say(respond, "200 OK" if said is None else "503 Service Unavailable", said or "ok")

    try:
        server = _Server((host, port), _Quiet)
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"--metrics-port {port}: cannot listen there, at {host}: {exc}.") from exc
    server.set_app(application)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("action=metrics /metrics and /healthz are at http://%s:%d", host, server.server_port)
    return server


def _say(respond: Any, status: str, words: str) -> list[bytes]:
    respond(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{words}\n".encode()]
