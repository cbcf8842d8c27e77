"""The files under deploy/: each can be read by what it is for, and every command in it is one of PerSyn's."""

import configparser
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from persyn.cli.main import app
from persyn.workers import __main__ as worker

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OBJECTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes/persyn.yaml").read_text(encoding="utf-8"))
)
PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in OBJECTS if "template" in each.get("spec", {})
}
WORKERS = {name: pod for name, pod in PODS.items() if pod["containers"][0]["command"][1] == "worker"}


def parse(words: list[str]) -> dict[str, Any]:
    """The options of a `persyn` command line; typer ends the test where it is none."""
    name, group, *arguments = words
    assert Path(name).name == "persyn"
    if group == "worker":
        return get_command(worker.app).make_context("worker", arguments).params
    command = get_command(app)
    _, found, rest = command.resolve_command(command.make_context("persyn", [group]), [group, *arguments])  # type: ignore[attr-defined]
    while hasattr(found, "commands"):
        group, *rest = rest
        found = found.commands[group]
    return dict(found.make_context(group, rest).params)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_and_waits_for_it_to_hand_back(unit: Path) -> None:
    read = configparser.RawConfigParser(strict=False)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(unit.read_text(encoding="utf-8"))
    words = shlex.split(read["Service"]["ExecStart"].replace("$WORKER", "--scorers --router"))
    parse(words)
    assert read["Service"]["Restart"] == "on-failure"
    if "worker" in words:
        assert int(read["Service"]["TimeoutStopSec"]) > 60


def test_a_batch_job_ends_before_its_time_and_leaves_when_idle() -> None:
    script = DEPLOY / "slurm/workers.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("exec ")]
    options = parse(shlex.split(line)[1:])
    assert (options["at_most"], options["exit_when_idle"]) == ("3h50m", "10m")
    assert "#SBATCH --time=04:00:00" in text
    assert "#SBATCH --signal=B:TERM@120" in text


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_a_command_with_the_addresses_from_a_secret(name: str) -> None:
    (container,) = PODS[name]["containers"]
    parse(container["command"])
    assert container["envFrom"] == [{"secretRef": {"name": "persyn"}}]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_pod_tells_its_health_and_has_time_to_hand_back(name: str) -> None:
    (container,) = WORKERS[name]["containers"]
    options = parse(container["command"])
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": options["metrics_port"]}
    assert options["metrics_host"] == "0.0.0.0"
    assert WORKERS[name]["terminationGracePeriodSeconds"] > 60


def test_what_is_scaled_exists_and_so_does_every_claim() -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in OBJECTS}
    (scaled,) = [each["spec"]["scaleTargetRef"]["name"] for each in OBJECTS if each["kind"] == "ScaledObject"]
    assert ("Deployment", scaled) in names
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS.values()
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= names
