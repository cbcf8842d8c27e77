"""docker-compose.yml cannot be run in every place where the tests run, but its shape and our rules can be checked."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from persyn.jobs import wake_ups
from persyn.workers import __main__ as worker

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker-")}
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)")

DURATION = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}
SIZE = {"type": "string", "pattern": r"^\d+(b|k|m|g|kb|mb|gb)$"}
COMMAND = {"type": "array", "items": {"type": "string"}, "minItems": 1}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: list[str], /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# The part of the Compose specification that the file uses; closed, so that a misspelt key fails.
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {
            "type": "object",
            "additionalProperties": closed(
                ["image", "restart"],
                image={"type": "string"},
                build=closed(["context", "target"], context={"type": "string"}, target={"type": "string"}),
                command=COMMAND,
                environment=STRINGS,
                env_file={"type": "array", "items": closed(["path"], path={}, required={"type": "boolean"})},
                volumes={"type": "array", "items": {"type": "string", "pattern": "^[a-z]+:/"}},
                ports={"type": "array", "items": {"type": "string"}},
                init={"type": "boolean"},
                shm_size=SIZE,
                stop_grace_period=DURATION,
                restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
                depends_on={
                    "type": "object",
                    "additionalProperties": closed(
                        ["condition"],
                        condition={"enum": ["service_started", "service_healthy", "service_completed_successfully"]},
                    ),
                },
                healthcheck=closed(
                    ["test", "interval", "timeout", "retries"],
                    test={**COMMAND, "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}], "minItems": 2},
                    interval=DURATION,
                    timeout=DURATION,
                    retries={"type": "integer", "minimum": 1},
                    start_period=DURATION,
                ),
                deploy=closed(
                    ["resources"],
                    resources=closed(
                        ["reservations"],
                        reservations=closed(
                            ["devices"],
                            devices={
                                "type": "array",
                                "items": closed(
                                    ["capabilities"],
                                    driver={"type": "string"},
                                    capabilities={"type": "array", "items": {"type": "string"}},
                                    device_ids={"type": "array", "items": {"type": "string"}},
                                ),
                            },
                        ),
                    ),
                ),
            ),
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "patternProperties": {"^x-": {}},
    "required": ["services"],
    "additionalProperties": False,
}


def queues(service: dict[str, Any]) -> list[str]:
    """What the worker's own command line makes of the service's."""
    name, command, *arguments = service["command"]
    assert (name, command) == ("persyn", "worker")
    options = get_command(worker.app).make_context("worker", arguments).params
    return worker.queues(options["teachers"], scorers=options["scorers"], router=options["router"])


def one_shots() -> set[str]:
    """The services whose end, not whose health, others wait for."""
    waits = [pair for service in SERVICES.values() for pair in service.get("depends_on", {}).items()]
    return {name for name, wait in waits if wait["condition"] == "service_completed_successfully"}


def test_the_file_follows_the_specification() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(COMPOSE)


def test_a_misspelt_key_would_be_found() -> None:
    broken = yaml.safe_load(TEXT.replace("restart: on-failure", "restrat: on-failure"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(broken)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_unless_it_runs_once(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) != (name in one_shots())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_comes_back_by_itself(name: str) -> None:
    assert SERVICES[name]["restart"] == ("on-failure" if name in one_shots() else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_what_can_come_true(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert SERVICES[other]["restart"] == "on-failure"


@pytest.mark.parametrize("name", ["api", *WORKERS])
def test_what_uses_the_schema_waits_for_the_migrations(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_outside_the_file(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|SECRET|TOKEN|KEY|URL", key):
            assert value.startswith("${"), key


def test_no_address_holds_a_literal_password() -> None:
    assert not re.search(r"://[^\s/@]*:(?!\$\{)[^\s/@]+@", TEXT)


def test_a_missing_password_stops_the_start() -> None:
    used = re.findall(r"\$\{\w*PASSWORD[^}]*\}", TEXT)
    assert used
    assert all(":?" in use for use in used)


def test_every_variable_is_in_the_example_and_no_secret_has_a_value_there() -> None:
    for name in VARIABLE.findall(TEXT):
        assert re.search(rf"^(# )?{name}=", EXAMPLE, re.MULTILINE), name
    assert re.findall(r"^\w*PASSWORD=(.+)$", EXAMPLE, re.MULTILINE) == []


def test_only_this_machine_reaches_a_published_port() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_asks_for_a_password_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert '--requirepass "$$REDIS_PASSWORD"' in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_reserves_a_gpu_of_its_own(name: str) -> None:
    (device,) = WORKERS[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    (mine,) = device["device_ids"]
    everyones = re.findall(r'device_ids: \["([^"]+)"\]', TEXT)
    assert everyones.count(mine) == 1


def test_each_teacher_has_a_worker_and_the_other_queues_share_one() -> None:
    taken = [queues(worker) for worker in WORKERS.values()]
    teachers = [found for found in taken if any(wake_ups.teacher_of(name) for name in found)]
    assert len(teachers) >= 2
    assert all(len(found) == 1 for found in teachers)
    rest = [name for found in taken if found not in teachers for name in found]
    assert sorted(rest) == sorted([wake_ups.SCORE_QUALITY, wake_ups.SCORE_LEARNABILITY, wake_ups.ROUTER])


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_an_image_is_built_from_a_stage_of_the_dockerfile(name: str) -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES[name]["build"]["target"] in stages


def test_every_named_volume_is_declared() -> None:
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])
