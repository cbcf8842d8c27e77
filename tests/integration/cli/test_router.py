"""`persyn router` as commands: a run trained by a real worker, and what the evaluation says of it."""

import json
from typing import Any

import pytest

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
    shown = site.persyn("router", "eval", run, "--curve")
    assert shown.returncode == 0, shown.stderr
    for expected in (
        f"{run}: 3 validation prompts", "kernel ridge", "oracle", "Bootstrap intervals", "Shares of the validation",
        "Learning curve", *(f"t{number}-{site.tag}" for number in range(3)),
    ):  # fmt: skip
        assert expected in shown.stdout
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
    done = site.persyn("router", "train", str(whole), "--with-worker")
    assert done.returncode == 0, done.stderr
    assert site.persyn("router", "eval", run).returncode == 0
    refused = site.persyn("router", "eval", run, "--curve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"persyn: Run {run} trained its backbone on all training prompts")
