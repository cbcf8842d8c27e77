"""What all tests share: a real Postgres and a real broker.

By default the embedded pair, started once for the session in a folder of its own.
With PERSYN_DATABASE_URL and PERSYN_BROKER_URL set, the same tests run against those servers, in databases of their own.
"""

import json
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from persyn import services
from persyn.config import Settings
from persyn.db import migrate, session

# How long an example takes is no property of the code.
hypothesis.settings.register_profile("persyn", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)  # `make unit`
hypothesis.settings.load_profile("persyn")

SHARED_DATA = os.environ.get("PERSYN_TEST_DATA")


@pytest.fixture(scope="session")
def endpoints() -> Iterator[services.Endpoints]:
    """The addresses of the session's Postgres and broker."""
    with tempfile.TemporaryDirectory(prefix="persyn-test-") as folder:
        settings = Settings.from_environment()._replace(home=Path(folder))
        try:
            endpoints = services.connect(settings)
            if settings.database_url is None:  # it ends with the session; none of its tests takes the machine away
                server = make_url(endpoints.database_url)
                _execute(server, "ALTER SYSTEM SET fsync = off")
                _execute(server, "SELECT pg_reload_conf()")
            yield endpoints
        finally:
            services.stop(settings)


def _execute(url: URL, statement: str) -> None:
    admin = session.connect(url.render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    admin.dispose()


@pytest.fixture(scope="session")
def template(endpoints: services.Endpoints) -> Iterator[URL]:
    """A migrated database that each test's own is copied from."""
    server = make_url(endpoints.database_url)
    url = server.set(database=f"persyn_template_{uuid.uuid4().hex[:12]}")
    _execute(server, f"CREATE DATABASE {url.database}")
    engine = session.connect(url.render_as_string(hide_password=False))
    migrate.upgrade(engine)
    engine.dispose()
    yield url
    _execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")


@pytest.fixture
def database_url(endpoints: services.Endpoints, template: URL) -> Iterator[str]:
    """The URL of a migrated, empty database that only this test uses."""
    server = make_url(endpoints.database_url)
    url = server.set(database=f"persyn_test_{uuid.uuid4().hex[:12]}")
    _execute(server, f"CREATE DATABASE {url.database} TEMPLATE {template.database}")
    yield url.render_as_string(hide_password=False)
    _execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = session.connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that PERSYN_TEST_DATA names, or `../shared/data` beside the repository."""
    folder = Path(SHARED_DATA) if SHARED_DATA else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder


class Reply(NamedTuple):
    status: int
    body: Any  # JSON, or bytes as they are
    headers: dict[str, str]


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any


class ScriptedServer:
    """A real HTTP server on the loopback device; `reply` decides what a request gets."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.reply: Callable[[Asked], tuple[int, Any, dict[str, str]]] = lambda asked: (500, {}, {})
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.path, headers, json.loads(self.rfile.read(length)))
                script.asked.append(asked)
                reply = Reply(*script.reply(asked))
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def says(self, content: str) -> None:
        """Answer every chat with this text."""
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 70, "completion_tokens": 9}
        self.reply = lambda asked: (200, {"choices": [choice], "usage": usage}, {})

    def refuses(self, status: int, message: str = "no", **headers: str) -> None:
        self.reply = lambda asked: (status, {"error": {"message": message}}, headers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()
