"""What a second run need not do again, counted in jobs."""

import json
from typing import Any

from persyn import runs
from persyn.config import parse_run
from persyn.imports.answers import import_answers
from persyn.stages import pipeline
from persyn.states import Stage

PROMPTS, CALIBRATION = 16, 6


def finish(site: Any, run_id: int) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.TRAIN)
    pipeline.advance(site.engine, run_id)
    site.follow(run_id)


def variant(site: Any, name: str, **changes: Any) -> int:
    raw = json.loads(site.config_file.read_text()) | {"name": f"{name}-{site.tag}"} | changes
    with site.engine.begin() as conn:
        return runs.create(conn, parse_run(raw, source="test"))


def jobs(site: Any, run_id: int) -> dict[str, int]:
    rows = site.rows("SELECT queue, count(*) FROM job WHERE run_id = :id GROUP BY queue", id=run_id)
    return {queue.removesuffix(f"-{site.tag}"): count for queue, count in rows}


def test_calibration_answers_are_paid_for_once(site: Any) -> None:
    first = site.prepare(PROMPTS, CALIBRATION)
    site.start_worker()
    finish(site, first)
    answers = {f"teacher.t{n}": CALIBRATION for n in range(site.TEACHERS)}
    scores = CALIBRATION * site.TEACHERS
    assert jobs(site, first) == answers | {"score.quality": scores, "score.learnability": scores, "router": 1}

    # another α asks the same answers and the same scores
    other_alpha = variant(site, "alpha", alpha=0.9)
    finish(site, other_alpha)
    assert jobs(site, other_alpha) == {"router": 1}

    # a second student: nothing is generated, and only what it itself thinks of the answers is scored
    raw = json.loads(site.config_file.read_text())
    second_student = variant(site, "student", student=raw["student"] | {"name": "other", "max_length": 300})
    finish(site, second_student)
    assert jobs(site, second_student) == {"score.learnability": scores, "router": 1}

    # a teacher added later is calibrated alone, and the router learns anew
    fourth = raw["teachers"][0] | {"name": f"t3-{site.tag}", "system_prompt": "You are teacher 3."}
    larger_pool = variant(site, "pool", teachers=[*raw["teachers"], fourth])
    finish(site, larger_pool)
    assert jobs(site, larger_pool) == {
        "teacher.t3": CALIBRATION, "score.quality": CALIBRATION, "score.learnability": CALIBRATION, "router": 1,
    }  # fmt: skip
    assert site.scalar("SELECT count(*) FROM router") == 4
    assert site.violations() == {}


def test_a_run_on_imported_answers_asks_no_teacher(site: Any, tmp_path: Any) -> None:
    site.prepare(PROMPTS, CALIBRATION)
    raw = json.loads(site.config_file.read_text())
    teachers = [{"name": f"i{n}-{site.tag}", "family": "f"} for n in range(3)]
    run_id = variant(site, "imported", teachers=teachers, scorers={"quality": {"kind": "imported"}})
    source = tmp_path / "answers.jsonl"
    with source.open("w") as file:
        for n in range(PROMPTS):
            responses = {t["name"]: {"text": f"{n} {i}", "quality": (n + i) % 2} for i, t in enumerate(teachers)}
            file.write(json.dumps({"id": f"p{n}", "responses": responses}) + "\n")
    report = import_answers(site.engine, run_id, [str(source)])
    assert (report.imported, report.scored) == (3 * PROMPTS, 3 * PROMPTS)
    assert raw["teachers"] != teachers

    site.start_worker()
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, Stage.GENERATE)
    pipeline.advance(site.engine, run_id)
    site.follow(run_id)
    routed = PROMPTS - CALIBRATION
    assert jobs(site, run_id) == {"score.learnability": 3 * CALIBRATION + routed, "router": 2}
    assert site.times_asked() == {}
    exported = site.persyn("export", f"imported-{site.tag}")
    assert exported.returncode == 0, exported.stderr
    assert site.violations() == {}


def with_limit(run: Any, name: str, limit: int) -> Any:
    """The same run under another name, whose answers may be so long."""
    teachers = [teacher.model_dump() | {"sampling": {"max_tokens": limit}} for teacher in run.config.teachers]
    return parse_run(run.config.model_dump() | {"name": name, "teachers": teachers}, source="test")


def jobs_of(run: Any, run_id: int, stage: Stage) -> list[str]:
    return [row.state for row in run.rows(
        "SELECT state FROM job WHERE run_id = :id AND stage = :stage", id=run_id, stage=int(stage)
    )]  # fmt: skip


def test_answers_under_another_limit_are_taken_over_also_where_they_come_after_the_run(small_run: Any) -> None:
    longer = with_limit(small_run, "longer", 4096)
    later = small_run.create(longer)  # before there is any answer
    small_run.work()
    assert small_run.create(longer) == later, "the same run, asked for again"
    pipeline.advance(small_run.engine, later)
    assert jobs_of(small_run, later, Stage.CALIBRATE) == []


def test_a_run_that_comes_to_generate_takes_over_what_another_has_made_meanwhile(small_run: Any) -> None:
    later = small_run.create(with_limit(small_run, "longer", 4096))
    pipeline.advance(small_run.engine, later)
    first, small_run.id = small_run.id, later
    for _ in range(2):  # its calibration, up to its routing
        small_run.answer("a")
        small_run.answer("b")
        small_run.advance()
        small_run.score()
        small_run.advance()
    small_run.id = first
    small_run.work()
    small_run.id = later
    small_run.work()
    assert jobs_of(small_run, later, Stage.GENERATE) == []
