"""The compose files cannot be run in every place where the tests run, but their shape and our rules can be checked."""

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
FILES = ("docker-compose.yml", "docker-compose.worker.yml")
TEXTS = {file: (ROOT / file).read_text(encoding="utf-8") for file in FILES}
TEXT = "".join(TEXTS.values())
CONTROL, WORKER = (yaml.safe_load(text) for text in TEXTS.values())
WORKERS: dict[str, Any] = WORKER["services"]
SERVICES: dict[str, Any] = CONTROL["services"] | WORKERS
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
                profiles={"type": "array", "items": {"type": "string"}},
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
                                    count={"enum": ["all"]},
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


def options(command: list[str]) -> dict[str, Any]:
    """What the worker's own command line makes of a command, its variables filled in with their defaults."""
    name, group, *arguments = [re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", word) for word in command]
    assert (name, group) == ("persyn", "worker")
    return get_command(worker.app).make_context("worker", arguments).params


def queues(command: list[str]) -> list[str]:
    found = options([word.replace(":-}", ":-a}") for word in command])
    return worker.queues(
        found["teachers"], scorers=found["scorers"], router=found["router"], trainers=found["trainers"]
    )


def one_shots() -> set[str]:
    """The services whose end, not whose health, others wait for."""
    waits = [pair for service in SERVICES.values() for pair in service.get("depends_on", {}).items()]
    return {name for name, wait in waits if wait["condition"] == "service_completed_successfully"}


@pytest.mark.parametrize("file", FILES)
def test_the_file_follows_the_specification(file: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(TEXTS[file]))


def test_both_files_can_be_one_composition() -> None:
    assert CONTROL["name"] == WORKER["name"]
    assert CONTROL["services"].keys() & WORKERS.keys() == set()


def test_a_misspelt_key_would_be_found() -> None:
    broken = yaml.safe_load(TEXTS[FILES[0]].replace("restart: on-failure", "restrat: on-failure"))
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


def test_the_api_waits_for_the_migrations() -> None:
    assert SERVICES["api"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


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


def test_only_this_machine_reaches_a_published_port_unless_the_environment_says_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.match(r"127\.0\.0\.1:|\$\{(PUBLISH|METRICS)_ADDRESS:-127\.0\.0\.1\}:", port) for port in ports)
    assert len({port.rpartition(":")[0] for port in ports}) == len(ports), "two services want one port"


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_other_hosts_can_be_let_in(name: str) -> None:
    assert any(port.startswith("${PUBLISH_ADDRESS:-") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("file", FILES)
def test_a_host_is_asked_for_nothing_that_is_anothers(file: str) -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", TEXTS[file]))
    assert (
        asked
        == ({"POSTGRES_PASSWORD", "REDIS_PASSWORD"}, {"PERSYN_DATABASE_URL", "PERSYN_BROKER_URL"})[FILES.index(file)]
    )


def test_the_broker_asks_for_a_password_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert '--requirepass "$$REDIS_PASSWORD"' in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_a_role_of_its_own_and_tells_its_own_health(name: str) -> None:
    assert WORKERS[name]["profiles"] == [name.removeprefix("worker-")]
    assert "http://127.0.0.1:9100/healthz" in WORKERS[name]["healthcheck"]["test"][-1]
    assert options(WORKERS[name]["command"])["metrics_port"] == 9100


@pytest.mark.parametrize("name", ["worker-teachers", "worker-scoring"])
def test_a_worker_with_models_sees_the_gpus(name: str) -> None:
    (device,) = WORKERS[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_roles_serve_every_queue() -> None:
    served = {name: queues(service["command"]) for name, service in WORKERS.items()}
    assert served["worker-scoring"] == [wake_ups.SCORE_QUALITY, wake_ups.SCORE_LEARNABILITY, wake_ups.ROUTER]
    assert all(map(wake_ups.teacher_of, served["worker-teachers"] + served["worker-endpoints"]))


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_an_image_is_built_from_a_stage_of_the_dockerfile(name: str) -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES[name]["build"]["target"] in stages


def test_every_named_volume_is_declared() -> None:
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert used == {*CONTROL["volumes"], *WORKER["volumes"]}
