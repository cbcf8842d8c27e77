"""Several answers of one teacher to a routed prompt: each is asked for once, all are scored, the best is exported."""

import json
from pathlib import Path
from typing import Any

from persyn import runs
from persyn.config import parse_run
from persyn.exports.write import export_run
from persyn.stages import pipeline
from persyn.states import Stage

PROMPTS, CALIBRATION, SAMPLES = 18, 6, 3
ROUTED = PROMPTS - CALIBRATION
DRAWN = {"samples": SAMPLES, "sampling": {"temperature": 1.0, "max_tokens": 64}}


def aim(site: Any, run_id: int) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(site.engine, run_id)


def prepare(site: Any) -> int:
    site.changes = dict.fromkeys(range(site.TEACHERS), DRAWN)
    return int(site.prepare(PROMPTS, CALIBRATION))


def variant(site: Any, name: str, samples: int) -> int:
    raw = json.loads(site.config_file.read_text())
    teachers = [teacher | {"samples": samples} for teacher in raw["teachers"]]
    with site.engine.begin() as conn:
        return runs.create(conn, parse_run(raw | {"name": f"{name}-{site.tag}", "teachers": teachers}, source="test"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_a_killed_worker_loses_and_doubles_none_of_several_answers_and_the_best_is_exported(site: Any) -> None:
    run_id = prepare(site)
    aim(site, run_id)
    worker = site.start_worker()
    site.eventually(lambda: site.scalar("SELECT count(*) FROM job WHERE stage = 50") > 0)
    site.configure_stub(latency_s=3.0)
    further = "SELECT count(*) FROM job WHERE sample_index > 0 AND state = 'leased'"
    site.eventually(lambda: site.scalar(further) > 0)
    worker.kill()
    worker.wait()
    assert site.scalar(further) > 0, "the worker died with no further answer in hand, so this test has shown nothing"

    site.configure_stub(latency_s=0.0)
    with site.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    site.start_worker()
    site.eventually(site.finished)

    assert site.violations() == {}
    assert site.rows("SELECT DISTINCT state FROM job") == [("done",)]
    made = CALIBRATION * site.TEACHERS + ROUTED * SAMPLES
    assert site.scalar("SELECT count(*) FROM generation") == made
    assert site.scalar("SELECT count(*) FROM score") == 2 * made
    each = site.rows("""
        SELECT d.basis, d.samples, count(*), count(DISTINCT g.seed), min(g.sample_index), max(g.sample_index)
        FROM routing_decision d JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id
        GROUP BY d.basis, d.samples, d.prompt_id""")
    assert set(each) == {("measured", 1, 1, 1, 0, 0), ("router", SAMPLES, SAMPLES, SAMPLES, 0, SAMPLES - 1)}

    # The stub's answers are all wrong, so that learnability decides.
    best = {row.generation_id for row in site.rows("""
        SELECT DISTINCT ON (d.prompt_id) a.generation_id FROM routing_decision d
        JOIN audit.answer a ON a.run_id = d.run_id AND a.prompt_id = d.prompt_id AND a.teacher_id = d.teacher_id
        WHERE a.sample_index < d.samples ORDER BY d.prompt_id, a.learnability DESC""")}  # fmt: skip
    manifest = export_run(site.engine, run_id, site.home / "out")
    exported = rows(site.home / "out")
    assert {row["generation_id"] for row in exported} == best
    assert len(exported) == PROMPTS
    assert any(row.sample_index for row in site.rows("SELECT * FROM generation WHERE id = ANY(:b)", b=[*best]))
    assert manifest.passed_over == ROUTED * (SAMPLES - 1)
    assert f"best of several: {manifest.passed_over} further answers passed over" in manifest.outcome()

    # Another run asks for fewer, and has them all.
    second = variant(site, "fewer", SAMPLES - 1)
    aim(site, second)
    site.follow(second)
    assert site.rows("SELECT DISTINCT kind FROM job WHERE run_id = :id ORDER BY 1", id=second) == [
        ("route",), ("train_router",),
    ]  # fmt: skip
    assert export_run(site.engine, second, site.home / "second").passed_over == ROUTED * (SAMPLES - 2)
    assert site.violations() == {}
