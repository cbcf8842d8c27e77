"""`persyn router` as commands: a run trained by a real worker, and what the evaluation says of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from persyn.errors import ConfigError
from persyn.inference.random_model import build

PROMPTS, CALIBRATED = 14, 12  # 3 of these validate, 9 train


def test_the_evaluation_agrees_with_what_the_training_measured_and_draws_its_curve(site: Any) -> None:
    site.prepare(prompts=PROMPTS, calibration=CALIBRATED)
    run = f"run-{site.tag}"
    done = site.persyn("router", "train", run, "--with-worker")
    assert done.returncode == 0, done.stderr
    compare_by_json(site, run)
    compare_by_tables(site, run)


def compare_by_json(site: Any, run: str) -> None:
    plot = site.home / "plots" / "curve.svg"
    asked = site.persyn("router", "eval", run, "--json", "--curve", "--plot", str(plot))
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    stored = site.scalar("SELECT metrics FROM router")  # measured by the worker, on the same validation prompts
    assert (found["run"], found["prompts"]) == (run, stored["prompts"]) == (run, 3)
    router, oracle = found["methods"]["router"], found["methods"]["oracle"]
    assert router["mean_reward"][0] == pytest.approx(stored["mean_reward"])
    assert oracle["mean_reward"][0] == pytest.approx(stored["oracle_reward"])
    for name in ("hit_at_1", "hit_at_3", "regret", "pairwise_accuracy"):
        assert router[name] == pytest.approx(stored[name]), name
    assert oracle["regret"] == 0.0
    assert {"router", "static", "random", "knn", "kernel_ridge", "mlp", "oracle"} == found["methods"].keys()
    for method in found["methods"].values():
        assert method["shares"].keys() == {f"t{number}-{site.tag}" for number in range(3)}
        assert sum(method["shares"].values()) == pytest.approx(1.0)
    assert found["differences"].keys() == {f"router_minus_{name}" for name in found["methods"] if name != "router"}
    assert (found["advice"] is None) == found["beats_static"]
    assert [row["lead"] for row in found["prompts_needed"]] == [0.02, 0.03, 0.05]
    answers = [row["answers"] for row in found["further_answers"]]
    assert answers[0] == 1.0
    assert all(most <= budget for most, budget in zip(answers[1:], (1.25, 1.5, 2.0), strict=True))

    assert [point["prompts"] for point in found["curve"]] == [4, 9]
    for point in found["curve"]:
        mean, low, high = point["mean_reward"]
        assert 0.0 <= low <= mean <= high <= oracle["mean_reward"][2] + 1e-9
    assert found["curve"][-1]["mean_reward"] == pytest.approx(router["mean_reward"]), "all prompts make the very router"
    drawn = plot.read_text()
    assert drawn.startswith("<?xml")
    assert "</svg>" in drawn


def compare_by_tables(site: Any, run: str) -> None:
    shown = site.ask("router", "eval", run, "--curve")
    assert shown.exit_code == 0, shown.output
    for expected in (
        f"{run}: 3 validation prompts", "kernel ridge", "oracle", "Bootstrap intervals", "Shares of the validation",
        "Learning curve", *(f"t{number}-{site.tag}" for number in range(3)),
    ):  # fmt: skip
        assert expected in shown.stdout
    assert "lead over the static best" in shown.stdout
    plot = site.home / "curve.jpeg"
    refused = site.persyn("router", "eval", run, "--plot", str(plot))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr
        == f"persyn: {plot}: plots are written as svg, png, pdf. Give the file a name that ends in one.\n"
    )


def test_a_run_without_a_router_is_one_sentence(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    run = f"run-{site.tag}"
    refused = site.persyn("router", "eval", run)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"persyn: Run {run} has no router yet. `persyn router train {run}` trains it.\n"


def test_a_curve_of_a_trained_backbone_is_refused_as_its_vectors_have_seen_all_prompts(site: Any) -> None:
    site.prepare(prompts=PROMPTS, calibration=CALIBRATED)
    run = f"whole-{site.tag}"
    config = json.loads(site.config_file.read_text())
    config |= {"name": run, "router": config["router"] | {"freeze_backbone": False, "epochs": 1}}
    whole = site.home / "whole.yaml"
    whole.write_text(json.dumps(config))
    done = site.persyn("router", "train", str(whole), "--with-worker", "--no-check")
    assert done.returncode == 0, done.stderr
    assert site.ask("router", "eval", run).exit_code == 0
    refused = site.ask("router", "eval", run, "--curve")
    assert isinstance(refused.exception, ConfigError)
    assert refused.stdout == ""
    assert str(refused.exception).startswith(f"Run {run} trained its backbone on all training prompts")


def test_routed_answers_teach_the_router_and_the_command_says_what_that_is_worth(site: Any) -> None:
    site.prepare(prompts=40, calibration=CALIBRATED)
    run, config = f"explores-{site.tag}", json.loads(site.config_file.read_text())
    options = {"policy_options": {"explore": 0.4}, "alpha": 0.5, "reroute": {"attempts": 2, "least_gain": 0.0}}
    site.config_file.write_text(json.dumps(config | options | {"name": run}))
    done = site.persyn("run", str(site.config_file), "--with-worker", "--no-check", "--allow-missing", "100%")
    assert done.returncode == 0, done.stderr
    drawn = site.scalar("SELECT count(*) FROM routing_decision WHERE basis = 'explored'")
    assert f"{drawn} of {40 - CALIBRATED} (" in done.stdout + done.stderr
    answers = site.scalar("SELECT count(*) FROM routing_decision WHERE basis <> 'measured'")
    decided = site.rows("SELECT prompt_id, attempt, teacher_id FROM routing_decision ORDER BY 1, 2")

    taught = site.persyn("router", "train", run, "--with-routed", "--with-worker")
    assert taught.returncode == 0, taught.stderr
    told = f"{answers} measured answers to {40 - CALIBRATED} routed prompts taught the router beside the calibration. "
    assert told in taught.stdout
    gain = site.scalar("SELECT metrics -> 'routed_gain' FROM router")
    assert ("It does not win" in taught.stdout) == (gain[0] <= 0)
    found = json.loads(site.ask("router", "eval", run, "--json").stdout)
    assert found["with_routed"]["routed_gain"] == gain
    assert site.rows("SELECT prompt_id, attempt, teacher_id FROM routing_decision ORDER BY 1, 2") == decided
    assert site.violations() == {}


@pytest.fixture
def large_model(tmp_path: Path) -> str:
    """A backbone that, once it is trained, is too large for the database."""
    return build(tmp_path / "large", hidden_size=2048)


@pytest.mark.parametrize("place", ["database", "store"])
def test_a_host_with_an_empty_home_routes_evaluates_and_audits_with_the_router_of_another(
    site: Any, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    site.prepare(prompts=PROMPTS, calibration=CALIBRATED)
    if place == "store":
        config = json.loads(site.config_file.read_text())
        changes = {"backbone": request.getfixturevalue("large_model"), "freeze_backbone": False, "epochs": 1}
        changed = config | {"name": f"large-{site.tag}", "router": config["router"] | changes}
        site.config_file.write_text(json.dumps(changed))
        (tmp_path / "store").mkdir()
        site.environment["PERSYN_ARTIFACTS_URL"] = f"file://{tmp_path / 'store'}"
    run = json.loads(site.config_file.read_text())["name"]

    def says(*arguments: str) -> str:
        done = site.persyn(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    says("router", "train", str(site.config_file), "--with-worker")
    assert site.scalar("SELECT artifact_place FROM router") == place
    here = json.loads(says("router", "eval", run, "--json"))
    shutil.rmtree(site.home / "routers")
    site.environment["PERSYN_HOME"] = str(tmp_path / "elsewhere")
    assert json.loads(says("router", "eval", run, "--json")) == here
    shutil.rmtree(tmp_path / "elsewhere" / "routers")
    says("route", run, "--with-worker")
    assert site.scalar("SELECT count(*) FROM routing_decision WHERE basis = 'router'") == PROMPTS - CALIBRATED
    routed = site.scalar("SELECT external_id FROM prompt p JOIN routing_decision d ON d.prompt_id = p.id"
                         " WHERE basis = 'router' LIMIT 1")  # fmt: skip
    assert "router" in says("audit", "prompt", run, routed)
    if place == "store":
        site.environment["PERSYN_ARTIFACTS_URL"] = ""
        shutil.rmtree(tmp_path / "elsewhere" / "routers")
        refused = site.persyn("router", "eval", run)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("persyn: The router's files are in the store as ")
        assert "the environment variable PERSYN_ARTIFACTS_URL is not set on this host." in refused.stderr
