import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persyn import services
from persyn.cli.services import app
from persyn.config import Settings


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="persyn-test-", dir="/tmp"))
    monkeypatch.setenv("PERSYN_HOME", str(folder / "home"))
    monkeypatch.delenv("PERSYN_DATABASE_URL", raising=False)
    monkeypatch.delenv("PERSYN_BROKER_URL", raising=False)
    yield folder / "home"
    services.stop(Settings.from_environment())
    shutil.rmtree(folder)


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def states() -> dict[str, str]:
    return {service["name"]: service["state"] for service in json.loads(invoke("status", "--json"))}


def psql(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from persyn.cli.services import app; app()", "psql", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def test_the_services_are_started_shown_and_stopped(home: Path) -> None:
    assert states() == {"postgres": "stopped", "broker": "stopped"}
    assert not home.exists()
    started = invoke("start")
    assert started.count("running") == 2
    assert str(home / "postgres" / "data") in started
    assert states() == {"postgres": "running", "broker": "running"}
    assert invoke("stop").count("stopped") == 2
    assert states() == {"postgres": "stopped", "broker": "stopped"}


def test_a_health_check_fails_unless_both_run(home: Path) -> None:
    assert CliRunner().invoke(app, ["status", "--check"]).exit_code == 1
    invoke("start")
    invoke("status", "--check")


def test_psql_passes_its_arguments_and_its_exit_code_through(home: Path) -> None:
    found = psql("--no-align", "-tc", "SELECT current_database()")
    assert (found.returncode, found.stdout, found.stderr) == (0, "persyn\n", "")
    assert psql("-v", "ON_ERROR_STOP=1", "-c", "SELECT 1/0").returncode == 1


def test_psql_opens_a_database_of_yours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = services.connect(Settings.from_environment()).database_url
    monkeypatch.setenv("PERSYN_HOME", "/nowhere")
    monkeypatch.setenv("PERSYN_DATABASE_URL", services.libpq_url(url))
    assert psql("-Atc", "SELECT current_user").stdout == "persyn\n"
    monkeypatch.setenv("PERSYN_HOME", str(home))
    monkeypatch.delenv("PERSYN_DATABASE_URL")
