"""Runs that go by the router of another run: new prompts, the same set grown, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from persyn import removal, reporting, runs
from persyn.config import load_run, parse_run
from persyn.errors import ConfigError
from persyn.exports import choices
from persyn.imports.prompts import import_prompts

PROMPTS, CALIBRATED, MORE = 10, 8, 12


@pytest.fixture
def owner(site: Any) -> str:
    """A run whose router is trained and that has routed nothing."""
    site.prepare(prompts=PROMPTS, calibration=CALIBRATED)
    run = f"run-{site.tag}"
    done = site.persyn("router", "train", run, "--with-worker")
    assert done.returncode == 0, done.stderr
    return run


def add_prompts(site: Any, prompt_set: str, first: int, count: int, **fields: Any) -> None:
    numbers = range(first, first + count)
    lines = [{"id": f"m{n}", "prompt": f"{site.tag}: and {n} + 2?", "reference_answer": str(n + 2)} for n in numbers]
    source = site.home / f"{prompt_set}-{first}.jsonl"
    source.write_text("".join(json.dumps(line | fields) + "\n" for line in lines))
    assert import_prompts(site.engine, prompt_set, [str(source)]).imported == count


def write_config(site: Any, name: str, **changes: Any) -> Path:
    """The owner's configuration with other values, the router's keys beside those that it has."""
    config = json.loads(site.config_file.read_text())
    changes["router"] = config["router"] | changes.get("router", {})
    file = site.home / f"{name}.yaml"
    file.write_text(json.dumps(config | {"name": f"{name}-{site.tag}"} | changes))
    return Path(file)


def test_new_prompts_are_routed_by_the_router_of_another_run_also_after_a_kill(site: Any, owner: str) -> None:
    add_prompts(site, "more", 0, MORE)
    file, name = write_config(site, "more", prompts="more"), f"more-{site.tag}"
    checked = site.persyn("check", str(file), "--router-of", owner, "--json")
    assert checked.returncode == 0, checked.stderr
    found = json.loads(checked.stdout)
    stages = [(stage["stage"], stage["new"]) for stage in found["stages"]]
    assert stages == [("generate", 12), ("score routed", 24), ("reroute", 9), ("score rerouted", 18)]
    assert f"the router of {owner} routes" in checked.stdout
    refused = site.persyn("router", "eval", name)
    assert "There is no run" in refused.stderr, "a check makes nothing"

    kill_amid_answers(site, [str(file), "--router-of", owner, "--with-worker"])
    done = site.persyn("run", str(file), "--router-of", owner, "--with-worker")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{MORE} of {MORE} rows")
    run_id = site.scalar("SELECT id FROM run WHERE name = :n", n=name)
    look_at_the_tables(site, owner, run_id)
    look_at_the_commands(site, owner, name)
    delete_both(site, owner, name)


def kill_amid_answers(site: Any, arguments: list[str]) -> None:
    site.configure_stub(latency_s=2.0)
    command = [sys.executable, "-m", "persyn", "run", *arguments]
    process = subprocess.Popen(command, env=site.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    leased = "SELECT count(*) FROM job WHERE kind = 'generate' AND stage = 50 AND state = 'leased'"
    try:
        site.eventually(lambda: site.scalar(leased) > 0, deadline_s=240)
    finally:
        process.kill()
        process.wait()
    site.configure_stub(latency_s=0.0)


def look_at_the_tables(site: Any, owner: str, run_id: int) -> None:
    kinds = site.rows("SELECT DISTINCT kind FROM job WHERE run_id = :id", id=run_id)
    assert {row.kind for row in kinds} <= {"route", "generate", "score", "reroute"}, "nothing is trained"
    assert site.scalar("SELECT count(*) FROM calibration_prompt WHERE run_id = :id", id=run_id) == 0
    answers = "SELECT count(*) FROM generation g JOIN job j ON j.id = g.job_id WHERE j.run_id = :id"
    assert site.scalar(answers, id=run_id) == MORE, "one answer a prompt, and none for calibration"
    assert site.scalar("SELECT count(*) FROM job WHERE run_id = :id AND state <> 'done'", id=run_id) == 0
    decisions = site.rows(
        """
        SELECT d.basis, router.run_id = o.id AS the_owners, d.neighbour_ids <@ (
                   SELECT array_agg(c.prompt_id) FROM calibration_prompt c WHERE c.run_id = o.id) AS near_to_the_owners
        FROM routing_decision d JOIN router ON router.id = d.router_id, run o WHERE d.run_id = :id AND o.name = :owner
        """,
        id=run_id, owner=owner,
    )  # fmt: skip
    assert [tuple(row) for row in decisions] == [("router", True, True)] * MORE
    assert site.violations() == {}


def look_at_the_commands(site: Any, owner: str, name: str) -> None:
    theirs, own = (json.loads(site.persyn("router", "eval", run, "--json").stdout) for run in (owner, name))
    assert own.pop("run") != theirs.pop("run")
    assert own == theirs
    manifest = json.loads((site.home / "exports" / name / "manifest.json").read_text())
    assert manifest["router"]["sha256"] == site.scalar("SELECT artifact_sha256 FROM router")
    why = json.loads(site.persyn("audit", "prompt", name, "m3", "--json").stdout)
    assert len(why["neighbours"]) == 5
    assert {len(near["teachers"]) for near in why["neighbours"]} == {3}
    status = json.loads(site.persyn("status", name, "--json").stdout)
    assert (status["state"], status["prompts"], status["decided"]) == ("finished", MORE, MORE)
    with site.engine.connect() as conn:
        summary = reporting.summary(conn, runs.find(conn, name))
    assert summary.calibration.prompts == 0
    assert summary.routed.prompts == MORE
    assert summary.metrics == site.scalar("SELECT metrics FROM router")
    assert all(teacher.quality is not None for teacher in summary.teachers), "measured on the owner's calibration"
    again = site.persyn("router", "train", name, "--again")
    assert (again.returncode, again.stderr) == (
        2, f"persyn: --again: the run goes by the router of '{owner}'. Train that one anew.\n",
    )  # fmt: skip


def delete_both(site: Any, owner: str, name: str) -> None:
    refused = site.persyn("runs", "delete", owner, "--yes")
    assert refused.returncode == 2
    assert refused.stderr == (f"persyn: Its router is that of other runs: {name}. `persyn runs delete` them first.\n")
    for run in (name, owner):
        with site.engine.begin() as conn:
            removal.delete_run(conn, runs.find(conn, run))
    assert site.scalar("SELECT count(*) FROM run") == 0
    assert site.violations() == {}


def test_the_same_set_grown_takes_what_was_measured_and_pays_for_new_prompts_alone(site: Any, owner: str) -> None:
    add_prompts(site, f"set-{site.tag}", 0, 3)
    done = site.persyn("run", str(write_config(site, "grown", router={"of": owner})), "--with-worker")
    assert done.returncode == 0, done.stderr
    run_id = site.scalar("SELECT id FROM run WHERE name = :n", n=f"grown-{site.tag}")
    bases = site.rows(
        "SELECT basis, count(*) FROM routing_decision WHERE run_id = :id GROUP BY 1 ORDER BY 1", id=run_id
    )
    assert [tuple(row) for row in bases] == [("measured", CALIBRATED), ("router", PROMPTS - CALIBRATED + 3)]
    made = site.scalar("SELECT count(*) FROM job WHERE run_id = :id AND kind = 'generate'", id=run_id)
    assert made == PROMPTS - CALIBRATED + 3
    with site.engine.connect() as conn:
        every = choices.every_measured_answer()
        summary = reporting.summary(conn, run_id)
        grown = runs.load(conn, run_id)
        by_measure = choices.of_policy(conn, grown, "car").parameters["bases"]
    assert summary.calibration.prompts == CALIBRATED
    assert site.rows(f"SELECT count(*) FROM ({every.sql}) AS x", run_id=run_id)[0][0] == CALIBRATED * site.TEACHERS
    assert by_measure.count("measured") == CALIBRATED
    assert site.violations() == {}

    budget = {"policy": "budgeted", "policy_options": {"budget": {f"t0-{site.tag}": {"tokens": 100000}}}}
    budgeted = write_config(
        site, "budgeted", router={"of": f"grown-{site.tag}"}, calibration_answers="exclude", **budget
    )
    done = site.persyn("route", str(budgeted), "--with-worker", "--no-check")
    assert done.returncode == 0, done.stderr
    statement = "SELECT basis, count(*) FROM routing_decision WHERE policy = 'budgeted' GROUP BY 1"
    assert [tuple(row) for row in site.rows(statement)] == [("budget", PROMPTS - CALIBRATED + 3)]
    chain = "SELECT count(*) FROM run WHERE router_run_id = (SELECT id FROM run WHERE name = :n)"
    assert site.scalar(chain, n=owner) == 2, "a run that borrows the router leads to its owner"
    assert site.violations() == {}


def test_what_the_router_of_another_run_cannot_route_is_one_sentence(site: Any, owner: str) -> None:
    add_prompts(site, "few", 0, 1)
    add_prompts(site, "unchecked", 0, 4, reference_answer=None)
    config = json.loads(site.config_file.read_text())
    teachers = config["teachers"]
    for changes, told in (
        ({"router": {"of": "nobody"}}, "router.of: there is no run 'nobody'. `persyn runs` lists those that"),
        ({"alpha": 0.5}, f"router.of: the router of '{owner}' comes from another configuration: alpha differ."),
        (
            {"teachers": [teachers[0] | {"sampling": {"max_tokens": 7}}, *teachers[1:]]},
            "another configuration: teachers[0].sampling.max_tokens differ. Give this run the same values",
        ),
        ({"teachers": teachers[:2]}, "another configuration: teachers differ."),
        ({"teachers": [*teachers[1:], teachers[0]]}, "another configuration: teachers[0].name, teachers[0]."),
        ({"student": config["student"] | {"max_length": 300}}, "another configuration: student.max_length differ."),
        ({"scorers": {"learnability": {"kind": "ifd"}}}, "another configuration: scorers.learnability[0].kind"),
        ({"calibration": {"size": 4}}, "another configuration: calibration.size, calibration.validation differ."),
        ({"prompts": "unchecked"}, "With scorers.score: calibration no routed answer is checked."),
    ):  # fmt: skip
        file = write_config(site, "bad", **{"router": {"of": owner}} | changes)
        with site.engine.begin() as conn, pytest.raises(ConfigError) as refused:
            runs.create(conn, load_run(file))
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)
    for changes in ({"prompts": "few"}, {"prompts": "unchecked", "scorers": {"score": "calibration"}}):
        with site.engine.begin() as conn:
            file = write_config(site, str(changes["prompts"]), router={"of": owner}, **changes)
            assert runs.create(conn, load_run(file)) > 0

    refused = site.persyn("check", str(write_config(site, "bad")), "--router-of", "nobody")
    assert refused.returncode == 2
    assert "router.of: there is no run 'nobody'" in refused.stdout
    assert "Did you mean the set" not in refused.stdout
    refused = site.persyn("run", str(write_config(site, "bad", policy="strong")), "--router-of", owner)
    assert refused.returncode == 2
    assert refused.stderr.startswith("persyn: --router-of: router.of: the policy strong asks no router.")


def test_a_run_that_has_no_router_lends_none(site: Any) -> None:
    site.prepare(prompts=4, calibration=2)
    raw, run = json.loads(site.config_file.read_text()), f"run-{site.tag}"
    borrower = parse_run(raw | {"name": "other", "router": raw["router"] | {"of": run}}, source="test")
    with site.engine.begin() as conn, pytest.raises(ConfigError, match=r"has no router yet\. `persyn router train"):
        runs.create(conn, borrower)
    with site.engine.begin() as conn:
        runs.create(conn, parse_run(raw | {"name": "plain", "policy": "strong"}, source="test"))
        borrower = parse_run(raw | {"name": "other", "router": raw["router"] | {"of": "plain"}}, source="test")
        with pytest.raises(ConfigError, match="'plain' has no router, as its policy strong asks none"):
            runs.create(conn, borrower)
