"""Prompts with tools, from the file through the teachers to the rows."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from persyn import runs
from persyn.config import Export, load_run
from persyn.exports.write import export_run
from persyn.imports.prompts import import_prompts
from persyn.stages import pipeline
from persyn.states import Stage

FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "so"}'}}
EARLIER = [
    {"role": "user", "content": "And in Rome? [[stub:tool-call]]"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "18C"},
]


def prepare(site: Any, **changes: Any) -> int:
    """A run of six prompts: all have tools, the first two are answered by a call, the third cannot be called."""
    records: list[dict[str, Any]] = [
        {"id": "calls", "prompt": "Weather in Paris? [[stub:tool-call]]", "tools": [TOOL]},
        {"id": "calls-again", "messages": EARLIER, "tools": json.dumps([FUNCTION])},
        {"id": "nothing-to-call", "messages": EARLIER},
        *({"id": f"text-{n}", "prompt": f"Weather in {n}?", "tools": [TOOL]} for n in range(3)),
    ]
    source = site.home / "prompts.jsonl"
    source.write_text("".join(json.dumps({"reference_answer": "1", **record}) + "\n" for record in records))
    assert import_prompts(site.engine, f"set-{site.tag}", [str(source)]).imported == len(records)
    site.changes = {number: {"tools": True} for number in range(site.TEACHERS)}
    config = site._config(len(records)) | {"policy": "random", "alpha": 0.0} | changes
    site.config_file.write_text(json.dumps(config))
    with site.engine.begin() as conn:
        return runs.create(conn, load_run(site.config_file))


def answers(site: Any, external_id: str) -> list[Any]:
    return list(site.rows("SELECT text, tool_calls, flaws FROM audit.answer WHERE external_id = :id", id=external_id))


def test_tools_reach_the_teachers_and_their_calls_reach_the_rows(site: Any) -> None:
    run_id = prepare(site)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.SCORE_ROUTED)
    pipeline.advance(site.engine, run_id)
    site.start_worker()
    site.follow(run_id)

    assert answers(site, "calls") == answers(site, "calls-again") == [("", [CALL], [])] * site.TEACHERS
    # A call of a tool that the prompt does not offer is none.
    assert answers(site, "nothing-to-call") == [("", None, ["tool_call", "wrong"])] * site.TEACHERS
    assert all(answer.tool_calls is None and answer.text for answer in answers(site, "text-0"))
    unscored = "SELECT DISTINCT error_code FROM job WHERE kind = 'score' AND state = 'dead'"
    assert [tuple(row) for row in site.rows(unscored)] == [("calls_a_tool",)]
    assert site.violations() == {}

    manifest = export_run(site.engine, run_id, site.home / "out", Export(keep=["wrong"]))
    assert manifest.left_out == {"tool_call": 1}
    lines = (site.home / "out" / "train.jsonl").read_text().splitlines()
    rows = {row["external_id"]: row for row in map(json.loads, lines)}
    called = CALL | {"function": {"name": "get_weather", "arguments": {"city": "so"}}}
    assert rows["calls"]["completion"] == [{"role": "assistant", "content": "", "tool_calls": [called]}]
    assert rows["calls-again"]["prompt"][1]["tool_calls"] == [called]
    assert json.loads(rows["text-0"]["tools"]) == [TOOL]
    shown = site.persyn("audit", "prompt", f"run-{site.tag}", "calls").stdout
    assert shown.count("get_weather") == 1 + site.TEACHERS  # the tool, and a call of each teacher


def test_a_teacher_that_takes_no_tools_is_not_asked_with_them(site: Any) -> None:
    """Prompts with tools may come into a set after its run."""
    run_id = prepare(site)
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
        conn.execute(text("UPDATE run SET config = jsonb_set(config, '{teachers,0,tools}', 'false')"))
    pipeline.advance(site.engine, run_id)
    site.start_worker("--teachers", f"t0-{site.tag}")
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'dead'") == 6)
    assert site.scalar("SELECT DISTINCT error_code FROM job WHERE state = 'dead'") == "no_tools"
    assert not site.times_asked()


@pytest.mark.parametrize("named", ["t0", "t1"])
def test_a_run_with_a_teacher_that_takes_none_is_refused_before_anything_is_asked(site: Any, named: str) -> None:
    prepare(site)
    config = json.loads(site.config_file.read_text()) | {"name": "other"}
    config["teachers"][int(named[1])]["tools"] = False
    site.config_file.write_text(json.dumps(config))
    refused = site.persyn("run", str(site.config_file), "--yes")
    assert refused.returncode == 2
    told = " ".join(refused.stdout.split() + refused.stderr.split())
    assert "have tools (6)" in told
    assert f"these have no `tools: true`: {named}-{site.tag}." in told
    assert not site.times_asked()
