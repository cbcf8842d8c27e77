"""Whole runs through real workers, a real broker and teachers behind real HTTP; SQL tells what is true afterwards.

The student and the router's backbone are tiny random models, so that only the plumbing is tested.
"""

import json
import threading
from typing import Any

import pytest
import redis
from sqlalchemy.exc import DBAPIError

from persyn import jobs, runs
from persyn.imports.prompts import import_prompts
from persyn.jobs import protocol, wake_ups
from persyn.stages import calibrate, generate, pipeline, score
from persyn.states import Stage

PROMPTS, CALIBRATION = 24, 8


def aim(site: Any, run_id: int, stage: Stage = Stage.GENERATE) -> None:
    with site.engine.begin() as conn:
        runs.aim(conn, run_id, stage)
    pipeline.advance(site.engine, run_id)


def assert_whole(site: Any, run_id: int) -> None:
    """Every prompt was decided once and answered once by its teacher; nothing was asked for that is not needed."""
    assert site.violations() == {}
    assert site.rows("SELECT DISTINCT state FROM job") == [("done",)]
    decisions = "SELECT count(*), count(DISTINCT prompt_id) FROM routing_decision WHERE run_id = :id"
    assert site.rows(decisions, id=run_id) == [(PROMPTS, PROMPTS)]
    answered = site.scalar("""
        SELECT count(*) FROM routing_decision d
        JOIN generation g ON g.prompt_id = d.prompt_id AND g.teacher_id = d.teacher_id""")
    assert answered == PROMPTS
    made = CALIBRATION * site.TEACHERS + PROMPTS - CALIBRATION
    assert site.scalar("SELECT count(*) FROM generation") == made
    assert site.scalar("SELECT count(*) FROM score") == 2 * made


def test_a_run_gives_each_prompt_one_answer_from_its_teacher_and_then_has_nothing_to_do(site: Any) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    aim(site, run_id)
    site.start_worker()
    site.eventually(site.finished)
    assert_whole(site, run_id)
    assert site.scalar("SELECT count(*) FROM routing_decision WHERE basis = 'router'") == PROMPTS - CALIBRATION
    asked = site.times_asked()
    assert (len(asked), set(asked.values())) == (CALIBRATION * site.TEACHERS + PROMPTS - CALIBRATION, {1})

    exported = site.persyn("export", f"run-{site.tag}")
    assert exported.returncode == 0, exported.stderr
    lines = (site.home / "exports" / f"run-{site.tag}" / "train.jsonl").read_text().splitlines()
    rows = {(row["external_id"], row["teacher"]) for row in map(json.loads, lines)}
    decided = site.rows("""
        SELECT p.external_id, t.name FROM routing_decision d
        JOIN prompt p ON p.id = d.prompt_id JOIN teacher t ON t.id = d.teacher_id""")
    assert len(lines) == PROMPTS
    assert rows == set(map(tuple, decided))

    before = site.scalar("SELECT count(*) FROM job_event")
    assert pipeline.advance(site.engine, run_id) == pipeline.Progress(new_jobs=0, finished=True)
    assert site.scalar("SELECT count(*) FROM job_event") == before


def test_a_worker_killed_while_it_generates_loses_and_doubles_nothing(site: Any) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    site.configure_stub(latency_s=3.0)
    aim(site, run_id)
    worker = site.start_worker()
    site.eventually(lambda: site.times_asked().total() > 0)
    worker.kill()
    worker.wait()
    held = site.scalar("SELECT count(*) FROM job WHERE state = 'leased'")
    assert held > 0, "the worker died with nothing in hand, so this test has shown nothing"

    site.configure_stub(latency_s=0.0)
    with site.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE lease SET expires_at = '2000-01-01' WHERE revoked_at IS NULL")
    site.start_worker()
    site.eventually(site.finished)
    assert_whole(site, run_id)
    assert site.scalar("SELECT count(*) FROM job_event WHERE event = 'lost'") == held
    assert site.scalar("SELECT max(lost_count) FROM job") == 1


def test_a_broker_that_drops_all_connections_and_forgets_everything_stops_nothing(site: Any) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    site.configure_stub(latency_s=2.0)
    aim(site, run_id)
    site.start_worker("--teachers", f"t0-{site.tag}")  # the others' wake-ups lie in the broker
    broker = redis.Redis.from_url(site.environment["PERSYN_BROKER_URL"].replace("redis+socket://", "unix://", 1))
    with site.engine.connect() as conn:
        prefix = wake_ups.key_prefix(wake_ups.deployment(conn))
    queues = [f"{prefix}teacher.t{number}-{site.tag}" for number in range(site.TEACHERS)]
    site.eventually(lambda: site.times_asked().total() > 0 and any(map(broker.exists, queues)))
    with broker.pipeline(transaction=True) as forget:
        for queue in queues:
            forget.llen(queue)
        forget.flushdb()
        *waiting, _ = forget.execute()
    for kind in ("normal", "pubsub"):
        broker.client_kill_filter(_type=kind, skipme=True)
    broker.close()
    assert sum(waiting) > 0, "no wake-up was forgotten, so this test has shown nothing"
    site.configure_stub(latency_s=0.0)
    site.start_worker()
    site.eventually(site.finished)
    assert_whole(site, run_id)


def answer_all(site: Any) -> None:
    for number in range(site.TEACHERS):
        queue = f"teacher.t{number}-{site.tag}"
        with site.engine.begin() as conn:
            lease_id = jobs.open_lease(conn, worker="w", host="h", queue=queue)
            claims = jobs.claim(conn, lease_id, queue, PROMPTS)
            results = [
                generate.NewGeneration(request, "4", None, "stop", 1, 1, 0.1, None)
                for request in generate.requests(conn, claims)
            ]
            assert generate.store(conn, lease_id, results) == CALIBRATION


def test_the_sample_stays_as_it_is_when_the_set_grows(site: Any) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    aim(site, run_id, Stage.CALIBRATE)
    sample = site.rows("SELECT prompt_id FROM calibration_prompt ORDER BY 1")
    assert len(sample) == CALIBRATION
    more = site.home / "more.jsonl"
    more.write_text("".join(json.dumps({"prompt": f"{site.tag}: more {n}"}) + "\n" for n in range(PROMPTS)))
    import_prompts(site.engine, f"set-{site.tag}", [str(more)])
    pipeline.advance(site.engine, run_id)
    assert site.rows("SELECT prompt_id FROM calibration_prompt ORDER BY 1") == sample
    assert site.violations() == {}


@pytest.mark.parametrize("target", [Stage.SCORE, Stage.TRAIN])
def test_answers_that_arrive_during_a_look_are_scored_before_the_run_goes_on(
    site: Any, monkeypatch: pytest.MonkeyPatch, target: Stage
) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    aim(site, run_id, target)
    look = score.enqueue_calibration

    def look_then_answer(*arguments: Any) -> int:
        new = look(*arguments)
        answer_all(site)
        return new

    monkeypatch.setattr(score, "enqueue_calibration", look_then_answer)
    assert pipeline.advance(site.engine, run_id) == pipeline.Progress(new_jobs=0, finished=False)
    monkeypatch.undo()
    scores = 2 * CALIBRATION * site.TEACHERS
    assert pipeline.advance(site.engine, run_id) == pipeline.Progress(new_jobs=scores, finished=False)


def test_a_run_aimed_further_during_a_look_is_not_finished(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    aim(site, run_id, Stage.CALIBRATE)
    answer_all(site)

    def aim_further() -> None:
        with site.engine.begin() as conn:
            runs.aim(conn, run_id, Stage.SCORE)

    further = threading.Thread(target=aim_further)
    look = calibrate.enqueue
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%SET target%'"

    def look_while_aimed_further(*arguments: Any) -> int:
        further.start()
        site.eventually(lambda: not further.is_alive() or site.scalar(waits) > 0)
        return look(*arguments)

    monkeypatch.setattr(calibrate, "enqueue", look_while_aimed_further)
    pipeline.advance(site.engine, run_id)
    further.join()
    assert not site.finished()
    monkeypatch.undo()
    scores = 2 * CALIBRATION * site.TEACHERS
    assert pipeline.advance(site.engine, run_id) == pipeline.Progress(new_jobs=scores, finished=False)


def test_a_process_stopped_during_a_look_does_not_keep_others_from_the_run(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = site.prepare(PROMPTS, CALIBRATION)
    aim(site, run_id, Stage.CALIBRATE)
    answer_all(site)

    def stop(*arguments: Any) -> int:
        monkeypatch.undo()
        site.eventually(lambda: pipeline.advance(site.engine, run_id).finished)
        return calibrate.enqueue(*arguments)

    monkeypatch.setattr(protocol, "HOLD_IDLE_S", 0.5)
    monkeypatch.setattr(calibrate, "enqueue", stop)
    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        pipeline.advance(site.engine, run_id)
    assert site.finished()
