"""Keys that are spoilt or repeated by a server: a real worker writes none of them into a table or its log."""

import base64
import json
from typing import Any

from persyn import runs
from persyn.stages import pipeline
from persyn.states import Stage

LINE, QUOTE, TOKEN = "sk-line-0123456789abcdef", "sk-“quote”-0123456789abcdef", "tok-0123456789-ABCDEF"
TABLES = """
SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
WHERE table_schema IN ('public', 'audit')
"""


def repeats_its_request(asked: Any) -> tuple[int, Any, dict[str, str]]:
    """A server that repeats what it was sent: one prompt's in an error, the others' in their answers."""
    sent = asked.headers["authorization"], asked.headers["x-token"]
    spelt = [*sent, repr(sent[0].encode()), base64.b64encode(sent[0].encode()).decode()]
    if "refuse me" in asked.body["messages"][-1]["content"]:
        return 400, {"error": {"message": json.dumps(spelt)}}, {}
    return 200, {"choices": [{"message": {"content": " ".join(spelt)}, "finish_reason": "stop"}]}, {}


def where(site: Any, secret: str) -> list[str]:
    """The tables, views and logs that hold a text."""
    found = [
        row.name
        for row in site.rows(TABLES)
        if site.scalar(f"SELECT count(*) FROM {row.name} AS t WHERE strpos(t::text, :secret) > 0", secret=secret)
    ]
    return found + [path.name for path in site.home.rglob("*.log") if secret in path.read_text(errors="replace")]


def test_no_table_and_no_log_holds_a_key(site: Any, scripted: Any) -> None:
    scripted.reply = repeats_its_request
    echo = {"url": scripted.url + "/v1", "api_key_env": "CASE_LINE", "headers": {"X-Token": "${CASE_TOKEN}"}}
    site.changes[0] = {"endpoint": echo}
    site.changes[1] = {"endpoint": {"url": site.stub.base_url, "api_key_env": "CASE_QUOTE"}}
    site.environment |= {"CASE_LINE": LINE + "\n", "CASE_QUOTE": QUOTE, "CASE_TOKEN": f" {TOKEN} "}
    run_id = site.prepare(prompts=6, calibration=6, marked={0: "refuse me"})
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.CALIBRATE)
    pipeline.advance(site.engine, run_id)
    site.start_worker()

    answered = "SELECT count(*) FROM generation g JOIN teacher t ON t.id = g.teacher_id WHERE t.name LIKE 't0-%'"
    site.eventually(lambda: site.scalar(answered) == 5)
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE state = 'dead'") == 1)
    lacks = "SELECT each ->> 'reason' FROM worker, jsonb_array_elements(unfit) AS each"
    site.eventually(lambda: bool(site.rows(lacks)))
    assert {asked.headers["authorization"] for asked in scripted.asked} == {f"Bearer {LINE}"}
    assert site.scalar("SELECT min(text) FROM generation WHERE text LIKE '%***%'").startswith("Bearer *** ***")
    assert "CASE_QUOTE holds characters that no key can have" in site.scalar(lacks)
    for secret in (LINE, LINE[8:], QUOTE, "quote”-0123456789", TOKEN, base64.b64encode(LINE.encode()).decode()[:20]):
        assert where(site, secret) == []
