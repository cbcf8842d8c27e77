"""`persyn run` and its steps as commands on real services; the worker that they start is a real one."""

import json
from typing import Any


def test_run_with_a_worker_goes_to_the_export_and_says_why_something_is_missing(site: Any) -> None:
    site.prepare(prompts=8, calibration=4, marked={3: "[[stub:400-context]]"})
    first = site.persyn("run", str(site.config_file), "--with-worker")
    assert first.returncode == 0, first.stderr
    assert "context_too_long" in first.stderr
    folder = site.home / "exports" / f"run-{site.tag}"
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert sorted(row["external_id"] for row in rows) == [f"p{number}" for number in range(8) if number != 3]
    assert json.loads((folder / "manifest.json").read_text())["missing"] == {"context_too_long": 1}
    assert site.violations() == {}

    events = site.scalar("SELECT count(*) FROM job_event")
    again = site.persyn("run", str(site.config_file))  # no worker is needed where nothing is left to do
    assert again.returncode == 0, again.stderr
    assert site.scalar("SELECT count(*) FROM job_event") == events


def test_another_configuration_under_the_same_name_is_refused(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    config = json.loads(site.config_file.read_text())
    site.config_file.write_text(json.dumps(config | {"alpha": 0.9}))
    refused = site.persyn("run", str(site.config_file))
    assert refused.returncode == 2
    assert refused.stderr.startswith("persyn: name: the run")
    assert "Traceback" not in refused.stderr
