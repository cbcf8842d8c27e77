"""The wheel, installed and run in a folder that has a workers/, an api/, a migrations/ and a persyn/ of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from persyn.db import migrate
from persyn.services import Endpoints

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("persyn", "workers", "api", "migrations")
PLANTED = "raise SystemExit('PLANTED')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, as setuptools leaves its work beside them."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(target))
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel alone is installed in; everything else comes from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", str(wheel), "--no-deps", "--no-compile", "--target", str(folder))
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Project:
    """A user's project, whose folders are called as ours."""

    def __init__(self, folder: Path, installed: Path, environment: dict[str, str]) -> None:
        self.folder, self._script = folder, installed / "bin" / "persyn"
        self._environment = environment | {"PYTHONPATH": str(installed)}
        for name in FOLDERS:
            (folder / name).mkdir()
            for file in ("__init__.py", "__main__.py", "app.py", "env.py"):
                (folder / name / file).write_text(PLANTED)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, self._script, *arguments], cwd=self.folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def persyn(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


@pytest.fixture
def project(installed: Path, database_url: str, endpoints: Endpoints, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    services = {"PERSYN_DATABASE_URL": database_url, "PERSYN_BROKER_URL": endpoints.broker_url}
    return Project(folder, installed, os.environ | services | {"PERSYN_HOME": str(tmp_path / "home")})


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"persyn"}


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                assert (name if folder == "persyn" else f"persyn/{name}") in held


def test_the_folders_would_be_run_by_a_python_that_looks_there(project: Project) -> None:
    for name in FOLDERS:
        done = subprocess.run([sys.executable, "-m", name], cwd=project.folder, capture_output=True, text=True)
        assert done.stderr == "PLANTED\n"


def test_the_worker_is_ours(project: Project) -> None:
    code, output = project.persyn("worker", "--help")
    assert (code, "--metrics-port" in output, "PLANTED" in output) == (0, True, False)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = taken.getsockname()[1]
        code, output = project.persyn("worker", "--scorers", "--metrics-port", str(number))
    assert code == 2, output
    assert output.startswith(f"persyn: --metrics-port {number}: cannot listen there")


def test_the_migrations_are_ours(project: Project, engine: Engine) -> None:
    migrate.downgrade(engine, "base")
    assert project.persyn("db", "upgrade") == (0, "The schema is up to date.\n")
    assert project.persyn("db", "check")[0] == 0


def test_the_api_is_ours(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = project.start("api", "--port", str(port))
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ok"}
                stranger = httpx.get(f"http://127.0.0.1:{port}/runs", headers={"Host": "stranger.example"})
                assert (stranger.status_code, stranger.text) == (400, "Invalid host header")
                return
            except httpx.TransportError:
                time.sleep(0.1)
        pytest.fail(f"no answer: {process.communicate(timeout=1)[0] if process.poll() is not None else ''}")
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert "PLANTED" not in output


def test_the_worker_that_a_command_starts_is_ours(site: Any, installed: Path) -> None:
    site.prepare(prompts=4, calibration=2)
    folder = site.home / "project"
    folder.mkdir()
    code, output = Project(folder, installed, site.environment).persyn(
        "calibrate", str(site.config_file), "--with-worker"
    )
    assert code == 0, output
    log = (site.home / "logs" / "worker.log").read_text()
    assert "action=drain" in log
    assert "PLANTED" not in log
