"""Variants of a run: another policy's set costs exactly the answers that nobody made yet."""

import json
from typing import Any

PROMPTS, CALIBRATED, TEACHERS = 12, 5, 3

_MADE = "SELECT count(*) FROM generation g JOIN prompt p ON p.id = g.prompt_id WHERE p.prompt_set_id = :set"
_DECIDED = """
SELECT d.prompt_id, d.teacher_id FROM routing_decision d JOIN run r ON r.id = d.run_id WHERE r.name = :name
"""


def run(site: Any, *arguments: str) -> str:
    done = site.persyn("run", *arguments, "--with-worker", "--no-check")
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_a_variant_asks_for_exactly_the_answers_that_are_missing(site: Any) -> None:
    run_id = site.prepare(prompts=PROMPTS, calibration=CALIBRATED)
    name = f"run-{site.tag}"
    run(site, str(site.config_file))
    prompts = site.scalar("SELECT prompt_set_id FROM run WHERE id = :id", id=run_id)
    before = site.scalar(_MADE, set=prompts)

    wanted = site.ask("export", name, "--policy", "random", "--out", str(site.home / "partly"))
    assert f"`persyn run {name} --policy random` asks for the answers that are missing." in wanted.stdout
    run(site, name, "--policy", "random")
    decided = {tuple(row) for row in site.rows(_DECIDED, name=f"{name}.random")}
    assert len(decided) == PROMPTS
    known = {tuple(row) for row in site.rows(_DECIDED, name=name)}
    routed_alike = len(decided & known) - CALIBRATED
    assert site.scalar(_MADE, set=prompts) - before == PROMPTS - CALIBRATED - routed_alike

    whole = site.ask("export", name, "--policy", "random", "--out", str(site.home / "whole"))
    assert "missing" not in whole.stdout
    rows = [[json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
            for folder in (site.home / "whole", site.home / "exports" / f"{name}.random")]  # fmt: skip
    assert rows[0] == rows[1]

    made = site.scalar(_MADE, set=prompts)
    run(site, str(site.config_file), "--policy", "random")  # the same variant by the run's file: nothing is left to do
    run(site, name, "--alpha", "0.9")
    assert site.scalar("SELECT count(*) FROM router") == 2, "another alpha teaches another router"
    run(site, name, "--policy", "oracle")
    assert site.scalar(_MADE, set=prompts) == PROMPTS * TEACHERS > made
    assert site.violations() == {}


def test_what_is_no_variant_is_refused(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    name = f"run-{site.tag}"
    for arguments, told in (
        (["nobody", "--policy", "car"], "There is no run 'nobody'"),
        ([name, "--policy", "best"], "--policy: got 'best'; choose one of persyn, strong"),
        ([name, "--reroute", "maybe"], "--reroute: got 'maybe'; give on or off."),
        ([name, "--policy", "car", "--router-of", "x"], "--router-of: a variant goes by the router of its run."),
        ([name, "--policy", "budgeted"], "policy_options.budget: the policy budgeted needs a limit"),
    ):
        refused = site.persyn("run", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr
