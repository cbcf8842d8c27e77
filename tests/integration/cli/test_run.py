"""`persyn run` and its steps as commands on real services; the worker that they start is a real one."""

import json
import subprocess
import sys
from typing import Any

import psutil
import pytest


def test_run_with_a_worker_goes_to_the_export_and_says_why_something_is_missing(site: Any) -> None:
    site.prepare(prompts=8, calibration=4, marked={3: "[[stub:400-context]]"})
    run = f"run-{site.tag}"
    first = site.persyn("run", str(site.config_file), "--with-worker", "--log-format", "json")
    assert first.returncode == 0, first.stderr
    assert [json.loads(line)["level"] for line in first.stderr.splitlines()]
    log = [json.loads(line) for line in (site.home / "logs" / "worker.log").read_text().splitlines()]
    failed = [line for line in log if line.get("action") == "fail"]
    assert {line["teacher"] for line in failed} <= {f"t{number}-{site.tag}" for number in range(3)}
    assert all({"time", "host", "worker", "run", "job"} <= line.keys() for line in failed)
    assert "maximum context length" in failed[0]["message"]
    assert "context_too_long" in first.stderr
    last = first.stdout.splitlines()[-1]
    assert last.startswith("7 of 8 rows (")
    assert "missing: 1 context_too_long" in last
    assert "\x1b" not in first.stderr
    folder = site.home / "exports" / f"run-{site.tag}"
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert sorted(row["external_id"] for row in rows) == [f"p{number}" for number in range(8) if number != 3]
    assert json.loads((folder / "manifest.json").read_text())["missing"] == {"context_too_long": 1}
    assert site.violations() == {}

    events = site.scalar("SELECT count(*) FROM job_event")
    again = site.persyn("run", str(site.config_file))  # no worker is needed where nothing is left to do
    assert again.returncode == 0, again.stderr
    assert site.scalar("SELECT count(*) FROM job_event") == events
    strict = site.persyn("run", str(site.config_file), "--allow-missing", "0")
    assert strict.returncode == 3
    assert "misses 1 of 8 prompts, and --allow-missing allows 0" in strict.stderr

    swept = site.ask("rewards", "sweep", run, "--alpha", "0,1", "--json", "--plot", str(site.home / "sweep.svg"))
    assert swept.exit_code == 0, swept.output
    found = json.loads(swept.stdout)
    assert (found["run"], found["normalisation"], found["prompts"] + found["left_out"]) == (run, "minmax", 4)
    assert [sum(point["shares"]) for point in found["points"]] == pytest.approx([1.0, 1.0])
    assert (site.home / "sweep.svg").read_text().startswith("<?xml")

    routed = site.scalar("SELECT external_id FROM audit.decision WHERE basis = 'router' LIMIT 1")
    why = json.loads(site.ask("audit", "prompt", run, routed, "--json").stdout)
    decision, (first, *_) = why["decision"], why["neighbours"]
    assert decision["margin"] == pytest.approx(decision["coefficient"] - decision["runner_up_coefficient"])
    assert first["prompt_id"] == decision["neighbour_ids"][0]
    assert {name for teacher in first["teachers"] for name in teacher} == {
        "teacher",
        "quality",
        "learnability",
        "reward",
    }
    shown = site.ask("audit", "prompt", run, routed).stdout
    assert "the best other teacher" in " ".join(shown.split())
    assert "What taught the router nearby" in shown


def test_a_sweep_without_scores_or_with_a_wrong_alpha_is_one_sentence(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    run = f"run-{site.tag}"
    for options, code, told in (
        ([], 2, f"persyn: Run {run} has no calibration prompt with two answers that have both quality"),
        (["--alpha", "1:0:0.1"], 2, "persyn: --alpha: '1:0:0.1' is neither FROM:TO:STEP"),
    ):
        refused = site.persyn("rewards", "sweep", run, *options)
        assert (refused.returncode, refused.stdout) == (code, "")
        assert refused.stderr.startswith(told)


def test_another_configuration_under_the_same_name_is_refused(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    config = json.loads(site.config_file.read_text())
    site.config_file.write_text(json.dumps(config | {"alpha": 0.9}))
    refused = site.persyn("run", str(site.config_file))
    assert refused.returncode == 2
    assert refused.stderr.startswith("persyn: name: the run")
    assert "Traceback" not in refused.stderr


def test_a_command_that_is_killed_takes_its_worker_along(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    site.configure_stub(latency_s=300.0)
    command = [sys.executable, "-m", "persyn", "calibrate", str(site.config_file), "--with-worker"]
    process = subprocess.Popen(command, env=site.environment, stderr=subprocess.DEVNULL)
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") > 0)
    (worker,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    site.eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert site.scalar("SELECT count(*) FROM job WHERE state = 'leased'") == 0


@pytest.mark.parametrize("command", [["run"], ["worker", "--scorers"]])
def test_a_broker_without_the_database_of_its_address_is_one_sentence(site: Any, command: list[str]) -> None:
    site.prepare(prompts=4, calibration=2)
    url = site.environment["PERSYN_BROKER_URL"]
    site.environment = site.environment | {"PERSYN_BROKER_URL": f"{url}?virtual_host=99"}
    refused = site.persyn(*command, *([str(site.config_file)] if command == ["run"] else []))
    assert refused.returncode == 1
    (sentence,) = [line for line in refused.stderr.splitlines() if line.startswith("persyn: ")]
    assert "has no database of this number (DB index is out of range)" in sentence
    assert "Traceback" not in refused.stderr
